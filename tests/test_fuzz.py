"""Everything that can be done to an index, at random, beside a naive list."""

from hypothesis import HealthCheck, Phase, settings

from tests.living import Living

TestLiving = Living.TestCase
TestLiving.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # what fails is short enough, and shrinking takes minutes
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
