import math
from dataclasses import replace

import pytest
import torch

from minisd.metrics import LABELS, Scorer, answers, labels_of, score
from minisd.models.classifier import Classifier, ClassifierConfig
from minisd.scenes import SceneFactors, Thing, one_factor_changes, scene_factors
from minisd.training.classifier import save_classifier

PAIR = SceneFactors(
    "beach",
    (Thing("dog", "red", "small", "right", "hat"), Thing("car", "blue", "large", "left")),
    "right of",
)
ONE = SceneFactors("snow", (Thing("cat", "black", "small", "centre"),))


def test_the_first_thing_is_the_one_further_left_or_above():
    told = labels_of(PAIR)
    assert (told["category"], told["other_category"], told["relation"]) == ("car", "dog", "beside")
    first, second = PAIR.things
    mirrored = SceneFactors("beach", (second, first), "left of")
    assert labels_of(mirrored) == told
    kite = (Thing("kite", "red", "small", "left"), Thing("car", "blue", "large", "left"))
    assert labels_of(SceneFactors("beach", kite, "above"))["category"] == "kite"
    assert labels_of(ONE)["relation"] == "none"
    assert "other_category" not in labels_of(ONE)


def test_answers_are_places_in_the_lists():
    found = answers([PAIR, ONE])
    assert found.keys() == LABELS.keys()
    assert LABELS["colour"][found["colour"][0]] == "blue"
    assert found["other_size"].tolist() == [LABELS["size"].index("small"), -100]


def test_a_true_reading_scores_one_and_a_change_costs_its_own_factor():
    wanted = [ONE, PAIR]
    true = [labels_of(factors) for factors in wanted]
    assert set(score(true, wanted).values()) == {1.0}
    darker = replace(ONE, background="lake")
    assert score([labels_of(darker), true[1]], wanted) == {
        "object": 1, "colour": 1, "background": 0.5, "size": 1, "place": 1, "accessory": 1,
        "relation": 1, "all": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize("index", range(12))
def test_every_change_of_a_scene_is_seen(index):
    factors = scene_factors(index)
    for change in one_factor_changes(factors):
        assert score([labels_of(change)], [factors])["all"] == 0


def test_a_thing_too_many_or_too_few_is_wrong():
    alone = SceneFactors("beach", PAIR.things[1:])
    for read, wanted in ((alone, PAIR), (PAIR, alone)):
        found = score([labels_of(read)], [wanted])
        assert found["background"] == 1
        assert found["object"] == found["all"] == 0
    assert math.isnan(score([labels_of(PAIR)], [alone])["relation"])


def test_they_must_be_as_many():
    with pytest.raises(ValueError, match="0 and 1 entries"):
        score([], [ONE])


def test_it_reads_in_words_and_comes_back_from_disk(tmp_path):
    torch.manual_seed(0)
    config = ClassifierConfig(LABELS, block_out_channels=(8, 8, 8), hidden_size=8)
    network = Classifier(config).half().float()
    save_classifier(network, tmp_path / "scorer")
    ours, back = Scorer(network), Scorer.from_pretrained(tmp_path / "scorer")
    assert back.network.config == config
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    assert ours.read(images) == back.read(images)
    for one in ours.read(images):
        assert all(word in LABELS[question] for question, word in one.items())
        assert (one["relation"] == "none") == ("other_category" not in one)
    torch.testing.assert_close(ours.features(images), back.features(images))
    torch.testing.assert_close(ours(images)["place"][1:2], ours(images[1:2])["place"])


@pytest.mark.parametrize("relation", LABELS["relation"])
def test_it_tells_of_the_other_thing_only_if_there_seem_to_be_two(relation):
    network = Classifier(ClassifierConfig(LABELS, block_out_channels=(8, 8, 8), hidden_size=8))
    names = [(question, word) for question, words in LABELS.items() for word in words]
    with torch.no_grad():
        network.head.bias[names.index(("relation", relation))] = 100
    (one,) = Scorer(network).read(torch.zeros(1, 3, 64, 64))
    others = {name for name in LABELS if name.startswith("other_")}
    assert one["relation"] == relation
    assert one.keys() == (LABELS.keys() - others if relation == "none" else LABELS.keys())
