"""Kedro settings: where configuration lives, which environment is the default, which hooks run."""

from kedro.config import OmegaConfigLoader

from dima_pipeline.hooks import RunHooks, dataroot_from_environment

CONFIG_LOADER_CLASS = OmegaConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "synthetic",
    "merge_strategy": {"parameters": "soft"},
    "custom_resolvers": {"dataroot": dataroot_from_environment},
}
HOOKS = (RunHooks(),)
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry", "kedro-viz")
