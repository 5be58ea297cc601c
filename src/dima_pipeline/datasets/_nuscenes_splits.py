"""nuScenes' own scene lists, from the devkit."""


def official_splits() -> dict[str, list[str]]:
    """Split name -> scene names, as nuScenes published them (train, val, test, mini_train, mini_val, ...)."""
    from nuscenes.utils.splits import create_splits_scenes

    return create_splits_scenes()
