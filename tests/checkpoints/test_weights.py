import pytest
import torch
from torch import nn

from minisd.checkpoints.weights import Unfilled, check_finite, current_names, load_into


def network(device="meta"):
    with torch.device(device):
        return nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))


def weights():
    torch.manual_seed(0)
    return {key: torch.randn_like(value) for key, value in network("cpu").state_dict().items()}


def test_the_tensors_themselves_become_the_weights():
    state, module = weights(), network()
    load_into(module, state, "here")
    for key, value in module.state_dict().items():
        assert value.data_ptr() == state[key].data_ptr()
    assert all(p.requires_grad for p in module.parameters())
    assert module(torch.ones(1, 2)).shape == (1, 3)


def test_networks_that_a_file_will_fill_draw_no_first_values():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with torch.device("meta"), Unfilled():
        module = nn.ModuleList([nn.Linear(2, 3), nn.Embedding(5, 2), nn.Conv2d(1, 1, 3)])
    assert all(p.is_meta for p in module.parameters())
    with Unfilled():
        nn.ModuleList([nn.Linear(2, 3), nn.Embedding(5, 2), nn.Conv2d(1, 1, 3)])
    assert torch.equal(torch.get_rng_state(), before)


def test_another_type_is_converted():
    state, module = weights(), network()
    load_into(module, state, "here", dtype=torch.bfloat16)
    assert {p.dtype for p in module.parameters()} == {torch.bfloat16}
    assert torch.equal(module[0].weight, state["0.weight"].bfloat16())


def test_says_which_keys_do_not_fit_and_leaves_the_network_as_it_was():
    state, module = weights(), network("cpu")
    before = {key: value.clone() for key, value in module.state_dict().items()}
    del state["0.bias"], state["1.weight"]
    state["0.weight"] = state["0.weight"].T
    state |= {f"new{i}": torch.ones(1) for i in range(5)}
    with pytest.raises(ValueError, match="does not fit") as error:
        load_into(module, state, "unet of /some/folder")
    assert str(error.value) == (
        "unet of /some/folder does not fit; of 4 weights there are 2 missing: 0.bias, 1.weight; "
        "5 unknown: new0, new1, new2, ...; "
        "1 of another shape: 0.weight is [2, 3] and must be [3, 2]"
    )
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("add_embedding.linear_1.weight", "Stable Diffusion XL"),
        ("lora_unet_down_blocks_0.lora_up.weight", "a LoRA"),
        ("control_model.x", "a ControlNet"),
        ("emb_params", "a textual inversion"),
    ],
)
def test_says_what_the_file_probably_is(key, told):
    with pytest.raises(ValueError, match=f"These are the keys of {told}"):
        load_into(network(), {key: torch.ones(1)}, "here")


def test_tells_stable_diffusion_2_by_its_linear_projections():
    with torch.device("meta"):
        module = nn.ModuleDict({"proj_in": nn.Conv2d(4, 4, 1, bias=False)})
    with pytest.raises(ValueError, match="Stable Diffusion 2, whose proj_in"):
        load_into(module, {"proj_in.weight": torch.ones(4, 4)}, "here")


def test_settings_of_another_size_are_told():
    state = weights() | {"0.weight": torch.ones(3, 5)}
    with pytest.raises(ValueError, match=r"settings .* are of another network"):
        load_into(network(), state, "here")


def test_old_names_of_the_vaes_attention():
    old = {
        "encoder.mid_block.attentions.0.query.weight": torch.ones(4, 4, 1, 1),
        "encoder.mid_block.attentions.0.proj_attn.bias": torch.ones(4),
        "encoder.mid_block.attentions.0.group_norm.weight": torch.ones(4),
        "encoder.conv_in.weight": torch.ones(4, 3, 1, 1),
    }
    new = current_names("vae", old)
    assert {key: tuple(value.shape) for key, value in new.items()} == {
        "encoder.mid_block.attentions.0.to_q.weight": (4, 4),
        "encoder.mid_block.attentions.0.to_out.0.bias": (4,),
        "encoder.mid_block.attentions.0.group_norm.weight": (4,),
        "encoder.conv_in.weight": (4, 3, 1, 1),
    }


def test_text_keys_with_and_without_their_prefix():
    places = {"text_model.embeddings.position_ids": 3, "embeddings.position_ids": 4}
    old = {"text_model.a": 1, "b": 2, **places}
    assert current_names("text_encoder", old) == {"text_model.a": 1, "text_model.b": 2}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_named(dtype, bad):
    module = network("cpu").to(dtype)
    check_finite(unet=module)
    module[1].bias.data[2] = bad
    with pytest.raises(ValueError, match=r"1 weights of unet hold NaN or infinity: 1\.bias\."):
        check_finite(vae=network("cpu"), unet=module)


def test_a_sum_that_overflows_is_no_fault():
    module = nn.Linear(2, 2)
    module.weight.data.fill_(3e38)
    check_finite(unet=module)
    half = nn.Linear(512, 512).half()
    half.weight.data.fill_(60000)
    check_finite(unet=half)
    module.weight.data = torch.tensor([[float("inf"), -float("inf")], [0, 0]])
    with pytest.raises(ValueError, match="weight"):
        check_finite(unet=module)
