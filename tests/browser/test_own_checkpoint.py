"""A visitor brings a checkpoint: it is refused or looked into, and the numbers on Explore are PyTorch's."""

import torch
from playwright.sync_api import expect

from odconv import explain, images
from odconv.backbones import od_resnet18
from odconv.checkpoint import load_checkpoint
from tests.browser.explore import expect_numbers, query, sample

HOSTILE = "<img src=x onerror=alert(1)>**net**.pth"


def choose(page, *files):
    page.locator(".st-key-bring input[type=file]").set_input_files(list(files))


def test_a_checkpoint_is_sent_recognised_and_looked_into_by_its_visitor_alone(server, new_page, visit, tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "own_w16.pth"
    torch.save(od_resnet18(7, width=16).state_dict(), path)
    page = new_page()
    page.goto(f"{server.url}checkpoint?sample=rocket")
    refused = page.locator(".st-key-bring [role=alert]")
    expect(page.locator(".st-key-bring label")).to_be_visible()

    new_page.expect_errors("422")  # a browser logs what is refused
    choose(page, {"name": HOSTILE, "mimeType": "application/octet-stream", "buffer": b"These are not weights.\n" * 99})
    expect(refused).to_have_text(
        "_img src=x onerror=alert(1)___net__.pth could not be read as a weights file; it may be damaged."
    )
    expect(refused.locator("*")).to_have_count(0)
    choose(page, {"name": "net.zip", "mimeType": "application/zip", "buffer": b"PK"})
    expect(refused).to_contain_text("net.zip is not a weights file")
    choose(page, path, path)
    expect(refused).to_contain_text("One checkpoint at a time")

    choose(page, path)
    expect(page.locator(".st-key-mine_facts")).to_contain_text("own_w16.pth")
    expect(refused).to_be_empty()
    page.locator(".st-key-mine_open button").click()
    network = load_checkpoint(path)
    image = images.prepare(images.decode(sample("rocket")), network.card)
    expect_numbers(page, explain(network.model, image))
    assert query(page) == {"model": "own", "sample": "rocket"}

    other = visit(f"?{page.url.partition('?')[2]}")  # a session of its own
    expect(other.get_by_text("asks for something that is not here (model)")).to_be_visible()
