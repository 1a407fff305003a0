import pytest
from stored_ct import Recipe, ct_dataset, series_of, write


@pytest.fixture
def make_series(tmp_path_factory):
    """Write a series: keywords of Recipe; the file names follow `file_order`, so files come in any order."""

    def make(**recipe_fields):
        recipe = Recipe(**recipe_fields)
        folder = tmp_path_factory.mktemp("series")
        for index in range(recipe.count):
            dataset = ct_dataset(recipe, index)
            recipe.change(dataset, index)
            write(dataset, folder / f"{recipe.file_order(index):04}.dcm")
        return series_of(folder)

    return make
