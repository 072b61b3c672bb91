"""A tiny dataset in NSD's layout, written by hand: nothing here is minisd's.

Three subjects, 9 pictures each (4 of them shared) of 20 in all, three times each, in 3 sessions of 2 runs with 5 and 4
trials. Subject 2 did two sessions.
"""

import csv
import json

import h5py
import nibabel as nib
import numpy as np
import scipy.io

PICTURES, OWN, SHARED, SESSIONS = 20, 9, 4, 3
RUNS = (5, 4)
DONE = {1: 3, 2: 2, 3: 3}
COLUMNS = (
    *(
        "SUBJECT",
        "SESSION",
        "RUN",
        "TRIAL",
        "73KID",
        "10KID",
        "TIME",
        "ISOLD",
        "ISCORRECT",
        "RT",
        "CHANGEMIND",
    ),
    *(
        "MEMORYRECENT",
        "MEMORYFIRST",
        "ISOLDCURRENT",
        "ISCORRECTCURRENT",
        "TOTAL1",
        "TOTAL2",
        "BUTTON",
    ),
    "MISSINGDATA",
)


def design(seed=0):
    """All that nsd_expdesign.mat holds, counted from 1 as MATLAB does, in small unsigned numbers."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.repeat(np.arange(1, OWN + 1), 3))
    pictures = 1 + rng.permutation(PICTURES)
    shared = np.sort(pictures[:SHARED])
    own = [np.r_[shared, rng.choice(pictures[SHARED:], OWN - SHARED, replace=False)] for _ in DONE]
    pattern = np.zeros((SESSIONS, len(RUNS), 6))
    pattern[:, 0, [0, 1, 3, 4, 5]] = 1
    pattern[:, 1, [0, 2, 3, 5]] = 1
    return {
        "masterordering": order[None].astype(np.uint8),
        "subjectim": np.array(own).astype(np.uint16),
        "sharedix": shared[None].astype(np.uint16),
        "basiccnt": np.zeros((3, SESSIONS)),
        "stimpattern": pattern.astype(np.uint8),
    }


def trials(plan, subject):
    """(session, run, trial, 73k id from 1, 10k id from 1) of every trial planned."""
    k = 0
    for session in range(1, SESSIONS + 1):
        for run, count in enumerate(RUNS, start=1):
            for trial in range(1, count + 1):
                column = int(plan["masterordering"][0, k])
                yield session, run, trial, int(plan["subjectim"][subject - 1, column - 1]), column
                k += 1


def write_design(root, plan):
    folder = root / "nsddata/experiments/nsd"
    folder.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(folder / "nsd_expdesign.mat", plan)


def write_info(root, plan):
    reps = {subject: {} for subject in DONE}
    for subject, when in reps.items():
        for number, (*_, nsd_id, _) in enumerate(trials(plan, subject), start=1):
            when.setdefault(nsd_id, []).append(number)
    header = [
        "",
        "cocoId",
        "cocoSplit",
        "cropBox",
        "loss",
        "nsdId",
        "flagged",
        "BOLD5000",
        "shared1000",
    ]
    header += [f"subject{s}" for s in DONE]
    header += [f"subject{s}_rep{r}" for s in DONE for r in range(3)]
    with (root / "nsddata/experiments/nsd/nsd_stim_info_merged.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(header)
        for i in range(PICTURES):
            out.writerow([
                i, 1000 + 7 * i, ("train2017", "val2017")[i % 3 == 0], "(0, 0, 0.25, 0.25)", 0.125, i, False, False,
                i + 1 in plan["sharedix"], *(int(i + 1 in reps[s]) for s in DONE),
                *(n for s in DONE for n in reps[s].get(i + 1, [0, 0, 0])),
            ])  # fmt: skip


def write_responses(root, plan, subject):
    folder = root / f"nsddata/ppdata/subj{subject:02}/behav"
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(COLUMNS)]
    for session, run, trial, nsd_id, column in trials(plan, subject):
        if session <= DONE[subject]:
            rest = [0.5, 0, 1, "NaN", 0, "NaN", "NaN", 0, 1, 1, 0, 1, 0]
            lines.append("\t".join(map(str, [subject, session, run, trial, nsd_id, column, *rest])))
    (folder / "responses.tsv").write_text("\n".join(lines) + "\n")


def write_tables(root, seed=0):
    """Everything but pictures and brains; gives the plan."""
    plan = design(seed)
    write_design(root, plan)
    write_info(root, plan)
    for subject in DONE:
        write_responses(root, plan, subject)
    return plan


SHAPE = (6, 7, 5)
VERTICES = {"lh": 11, "rh": 9}
LABELS = ("V1v", "V1d", "V2v", "hV4")
AFFINE = np.diag([-1.8, -1.8, 1.8, 1.0])


def save_nifti(path, data, dtype):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.asarray(data, dtype), AFFINE)
    image.header.set_zooms((1.8, 1.8, 1.8, 4 / 3)[: np.ndim(data)])
    nib.save(image, path)


def save_mgh(path, data, dtype=np.float32):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.MGHImage(np.asarray(data, dtype), np.eye(4)), path)


def write_rois(root, subject=1, name="prf-visualrois", labels=LABELS, seed=0):
    """A kind of regions in the volume and on the average brain; gives the volumes and the surfaces."""
    rng = np.random.default_rng(seed)
    cortex = rng.random(SHAPE) < 0.7
    left = np.arange(SHAPE[0])[:, None, None] < SHAPE[0] // 2
    values = np.where(cortex, rng.integers(0, len(labels) + 1, SHAPE), -1)
    folder = root / f"nsddata/ppdata/subj{subject:02}/func1pt8mm/roi"
    volumes = {"": values, "lh.": np.where(left, values, -1), "rh.": np.where(left, -1, values)}
    for side, data in volumes.items():
        save_nifti(folder / f"{side}{name}.nii.gz", data, np.int16)
    surfaces = {side: rng.integers(-1, len(labels) + 1, n) for side, n in VERTICES.items()}
    for side, data in surfaces.items():
        path = root / f"nsddata/freesurfer/fsaverage/label/{side}.{name}.mgz"
        save_mgh(path, data[:, None, None], np.int32)
    table = root / f"nsddata/freesurfer/subj{subject:02}/label/{name}.mgz.ctab"
    table.parent.mkdir(parents=True, exist_ok=True)
    lines = ["0 Unknown", *(f"{i} {label}" for i, label in enumerate(labels, 1))]
    table.write_text("\n".join(lines) + "\n")
    return volumes, surfaces


def write_hdf5(path, data, chunks=(27, 1, 1, 1), name="betas", **options):
    """As MATLAB's h5write leaves it: data [X, Y, Z, T] with the axes turned round."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        if chunks is not None:
            chunks = tuple(min(a, b) for a, b in zip(chunks, data.T.shape, strict=True))
        file.create_dataset(name, data=data.T, chunks=chunks, **options)


def session_of_betas(rng, trials=9):
    """The whole numbers that NSD stores, [X, Y, Z, T] int16, with the extremes that saturate."""
    data = np.round(rng.normal(2.2, 3.3, (*SHAPE, trials)) * 300).astype(np.int16)
    data[1, 2, 3, :2] = -32768, 32767
    return data


def write_betas(
    root, subject, session, data, version="betas_fithrf_GLMdenoise_RR", kinds=("hdf5", "nii.gz")
):
    folder = root / f"nsddata_betas/ppdata/subj{subject:02}/func1pt8mm/{version}"
    for kind in kinds:
        path = folder / f"betas_session{session:02}.{kind}"
        if kind == "hdf5":
            write_hdf5(path, data)
        else:
            save_nifti(path, data, np.int16)
    return folder


def write_pictures(root):
    pictures = np.random.default_rng(5).integers(0, 256, (PICTURES, 6, 6, 3), np.uint8)
    path = root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["imgBrick"] = pictures
    return pictures


def write_captions(root):
    """COCO's two files, with pictures that NSD does not have; gives the captions by COCO's id."""
    folder = root / "nsddata_stimuli/stimuli/nsd/annotations"
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for split, rest in (("train2017", (1, 2)), ("val2017", (0,))):
        entries = [{"id": 1, "image_id": 5, "caption": "not one of NSD's"}]
        for turn in range(5):
            for i in range(PICTURES):
                if i % 3 in rest:
                    text = f"picture {i}, told the {turn}. time"
                    entries.append(
                        {
                            "id": len(entries),
                            "image_id": 1000 + 7 * i,
                            "caption": text + " \n" * (i % 2),
                        }
                    )
                    written.setdefault(1000 + 7 * i, []).append(text)
        content = {"info": {}, "images": [], "licenses": [], "annotations": entries}
        (folder / f"captions_{split}.json").write_text(json.dumps(content))
    return written
