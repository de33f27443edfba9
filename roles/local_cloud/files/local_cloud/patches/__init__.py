"""What MiniStack lacks, one module per service. Each module has `apply(cloud)`, called once before
the API is served; contract tests in tests/local_cloud say whether a gap is still there upstream.
"""

from __future__ import annotations

from importlib import import_module

from ..settings import Cloud

# In this order; a later patch may build on an earlier one.
MODULES: tuple[str, ...] = (
    "lifecycle",
    "faults",
    "elb",
    "ecr",
    "efs",
    "ecs_containers",
    "ecs",
    "ecs_fargate",
    "application_autoscaling",
    "lambda_containers",
    "lambda_functions",
    "ec2_machines",
    "ec2_images",
    "ec2_image_attributes",
    "ec2_key_pairs",
    "ec2_requests",
    "ec2_security_groups",
    "ec2_route_tables",
    "ec2_instances",
    "ec2_metadata",
)


def apply_all(cloud: Cloud) -> None:
    for name in MODULES:
        import_module(f".{name}", __package__).apply(cloud)
