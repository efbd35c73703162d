"""Annotated boxes in three formats, and what is wrong with files of each."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from edgekit import data
from edgekit.data import DataRef
from edgekit.errors import UsageError
from tests.wording import raises

NAMES = ("cat", "dog")
BOXES = {"a": [("dog", (10, 5, 60, 40))], "b": [("cat", (0, 0, 100, 50)), ("dog", (20, 10, 30, 20))]}


def pictures(folder, names=BOXES):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (100, 50), (10, 20, 30)).save(folder / f"{name}.jpg")


def coco(folder, **changed):
    pictures(folder / "images")
    numbers = {name: place for place, name in enumerate(BOXES, 1)}
    content = {
        "images": [{"id": numbers[name], "file_name": f"{name}.jpg", "width": 100, "height": 50} for name in BOXES],
        "categories": [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}],
        "annotations": [
            {
                "id": 10 * numbers[name] + place,
                "image_id": numbers[name],
                "category_id": {"cat": 7, "dog": 9}[kind],
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            }
            for name, boxes in BOXES.items()
            for place, (kind, box) in enumerate(boxes)
        ],
    }
    for table, entry in changed.items():
        content[table][0].update(entry)
    path = folder / "instances_val.json"
    path.write_text(json.dumps(content))
    return path


def yolo(folder, line=None, yaml="path: .\nval: images\nnames: [cat, dog]\n"):
    pictures(folder / "images")
    (folder / "labels").mkdir()
    for name, boxes in BOXES.items():
        rows = [
            f"{NAMES.index(kind)} {(x + right) / 200} {(y + bottom) / 100} {(right - x) / 100} {(bottom - y) / 50}"
            for kind, (x, y, right, bottom) in boxes
        ]
        (folder / "labels" / f"{name}.txt").write_text("\n".join(rows if line is None else [line]) + "\n")
    if yaml:
        (folder / "data.yaml").write_text(yaml)
    return folder


OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def voc(folder, extra=""):
    pictures(folder / "JPEGImages")
    (folder / "Annotations").mkdir()
    for name, boxes in BOXES.items():
        objects = "".join(OBJECT.format(kind, x + 1, y + 1, right, bottom) for kind, (x, y, right, bottom) in boxes)
        size = "<size><width>100</width><height>50</height></size>"
        (folder / "Annotations" / f"{name}.xml").write_text(
            f"<annotation><filename>{name}.jpg</filename>{size}{objects}{extra}</annotation>"
        )
    return folder


FORMATS = {"COCO's file": coco, "COCO's folder": lambda folder: coco(folder).parent, "YOLO": yolo, "VOC": voc}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_has_the_same_boxes(name, tmp_path):
    samples = data.load(str(FORMATS[name](tmp_path)))
    assert samples.classes == NAMES
    assert [sample.fields["image"].name for sample in samples] == ["a.jpg", "b.jpg"]
    for sample, boxes in zip(samples, BOXES.values(), strict=True):
        assert sample.label["classes"] == [kind for kind, _ in boxes]
        assert [[round(side, 6) for side in box] for box in sample.label["boxes"]] == [list(box) for _, box in boxes]
        assert sample.label["ignored"] == [False] * len(boxes)
    assert samples.take(1).digest != samples.digest


def test_a_digest_follows_the_boxes(tmp_path):
    before = data.load(str(yolo(tmp_path))).digest
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    assert data.load(str(tmp_path)).digest != before


def test_splits(tmp_path):
    yolo(tmp_path, yaml="train: images\nval: [images/a.jpg, list.txt]\nnames: {0: cat, 1: dog}\n")
    (tmp_path / "list.txt").write_text("images/b.jpg\n")
    (tmp_path / "images" / "a.jpg").rename(tmp_path / "images" / "c.jpg")
    (tmp_path / "labels" / "a.txt").rename(tmp_path / "labels" / "c.txt")
    assert len(data.load(DataRef(str(tmp_path), "train"))) == 2
    with raises(UsageError, "images/a.jpg"):
        data.load(str(tmp_path))
    voc(tmp_path / "voc")
    lists = tmp_path / "voc" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("b\n")
    (lists / "train.txt").write_text("a\nmissing\n")
    samples = data.load(str(tmp_path / "voc"))
    assert [sample.fields["image"].stem for sample in samples] == ["b"]
    with raises(UsageError, "missing.xml", "1"):
        data.load(DataRef(str(tmp_path / "voc"), "train"))


def test_crowds_and_difficult_objects_do_not_count(tmp_path):
    samples = data.load(str(coco(tmp_path / "coco", annotations={"iscrowd": 1})))
    assert samples[0].label["ignored"] == [True]
    difficult = OBJECT.format("cat", 1, 1, 5, 5).replace("<bndbox>", "<difficult>1</difficult><bndbox>")
    rows = data.load(str(voc(tmp_path / "voc", difficult)))
    assert rows[0].label["ignored"] == [False, True] and rows[0].label["boxes"][1] == [0, 0, 5, 5]


def test_polygons_pictures_without_labels_and_numbers_as_classes(tmp_path):
    yolo(tmp_path, line="1 0.1 0.2 0.5 0.2 0.3 0.8", yaml="")
    (tmp_path / "labels" / "b.txt").unlink()
    samples = data.load(str(tmp_path))
    assert samples[0].label == {"boxes": [[10.0, 10.0, 50.0, 40.0]], "classes": [1], "ignored": [False]}
    assert samples[1].label["boxes"] == [] and samples.classes == (1,)
    assert any("1 of 2 pictures have no file of labels" in note for note in samples.notes)


def test_a_box_over_the_edge_is_cut_and_counted(tmp_path):
    samples = data.load(str(coco(tmp_path, annotations={"bbox": [-5, 5, 30, 60]})))
    assert samples[0].label["boxes"] == [[0.0, 5.0, 25.0, 50.0]]
    assert any("1 boxes reach over the edge" in note for note in samples.notes)


COCO_FAULTS = {
    "a class without a name": ({"annotations": {"category_id": 8}}, ("the annotation 10", "class 8"), "7 cat"),
    "a picture that is not listed": ({"annotations": {"image_id": 8}}, ("the annotation 10", "picture 8"), "images"),
    "a box outside": ({"annotations": {"bbox": [200, 5, 9, 9]}}, ("annotation 10", "outside", "100 x 50"), "remove"),
    "a box without area": ({"annotations": {"bbox": [2, 5, 0, 9]}}, ("annotation 10", "no area"), "remove"),
    "a box of three": ({"annotations": {"bbox": [2, 5, 0]}}, ("annotation 10", "width, height"), "cocodataset.org"),
    "a missing picture": ({"images": {"file_name": "c.jpg"}}, ("1 of 2", "c.jpg"), "copy"),
    "two of one id": ({"images": {"id": 2}}, ("entry 1", "'images'"), "again"),
}


@pytest.mark.parametrize("name", COCO_FAULTS)
def test_a_fault_in_cocos_file_is_named(name, tmp_path):
    changed, facts, hint = COCO_FAULTS[name]
    path = coco(tmp_path, **changed)
    with raises(UsageError, *facts, hint=hint):
        list(data.load(str(path)))


YOLO_FAULTS = {
    "a class beyond": ("2 0.5 0.5 0.1 0.1", ("a.txt' line 1", "class 2"), "names"),
    "pixels": ("0 50 25 20 10", ("a.txt' line 1", "pixels"), "shares"),
    "outside": ("0 1.5 0.5 0.1 0.1", ("a.txt' line 1", "outside"), "remove"),
    "words": ("cat 0.5 0.5 0.1 0.1", ("a.txt' line 1", "row of numbers"), "shares"),
    "too few": ("0 0.5 0.5", ("a.txt' line 1", "box"), "shares"),
}


@pytest.mark.parametrize("name", YOLO_FAULTS)
def test_a_fault_in_yolos_labels_is_named(name, tmp_path):
    line, facts, hint = YOLO_FAULTS[name]
    with raises(UsageError, *facts, hint=hint):
        list(data.load(str(yolo(tmp_path, line))))


def test_a_folder_without_labels_and_bad_descriptions(tmp_path):
    folder = yolo(tmp_path / "a")
    for file in (folder / "labels").iterdir():
        file.unlink()
    with raises(UsageError, "none of the 2", "a.txt", hint="labels"):
        data.load(str(folder))
    for yaml, facts in (
        ("names: [cat]\n", "names no pictures"),
        ("val: elsewhere\n", "elsewhere"),
        ("val: [\n", "YAML"),
    ):
        (folder / "data.yaml").write_text(yaml)
        with raises(UsageError, facts):
            data.load(str(folder / "data.yaml"))


def test_broken_xml_and_other_json(tmp_path):
    folder = voc(tmp_path / "voc")
    (folder / "Annotations" / "a.xml").write_text("<annotation><object>")
    with raises(UsageError, "a.xml", "XML"):
        data.load(str(folder))
    (folder / "Annotations" / "a.xml").write_text("<annotation><object><name>cat</name></object></annotation>")
    with raises(UsageError, "a.xml", "object 1"):
        data.load(str(folder))
    (tmp_path / "list.json").write_text("[1, 2]")
    with raises(UsageError, "list.json", "'images'", hint="cocodataset.org"):
        data.load(str(tmp_path / "list.json"))
