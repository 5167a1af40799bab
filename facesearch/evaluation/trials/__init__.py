"""Labelled trials: which photos, templates or scores belong to one person, read from the formats people have.

Every reader checks what would make an error rate wrong (a pair listed twice, a photo compared with itself,
labels that contradict each other, photos that are not there) and refuses it with an error that names the rows.
Nothing is dropped silently.
"""

from facesearch.evaluation.trials.detect import Trials, read_trials
from facesearch.evaluation.trials.embeddings import read_embeddings
from facesearch.evaluation.trials.everyone import all_pairs
from facesearch.evaluation.trials.folders import read_people, read_search_folders, read_strangers, split_people
from facesearch.evaluation.trials.grouping import coded_groups, read_groups
from facesearch.evaluation.trials.manifests import read_manifest, read_manifests, require_new_photos
from facesearch.evaluation.trials.pairs import read_lfw_pairs, read_pairs_csv
from facesearch.evaluation.trials.pickled import read_insightface_bin
from facesearch.evaluation.trials.refusal import require_disjoint_subjects
from facesearch.evaluation.trials.scores import read_bob_scores, read_scores_csv, write_scores_csv
from facesearch.evaluation.trials.together import scored_pairs
from facesearch.evaluation.trials.types import EmbeddingSet, PairTrials, Photo, PhotoSet, ScoreTrials, SearchTrials

__all__ = [
    "EmbeddingSet",
    "PairTrials",
    "Photo",
    "PhotoSet",
    "ScoreTrials",
    "SearchTrials",
    "Trials",
    "all_pairs",
    "coded_groups",
    "read_bob_scores",
    "read_embeddings",
    "read_groups",
    "read_insightface_bin",
    "read_lfw_pairs",
    "read_manifest",
    "read_manifests",
    "read_pairs_csv",
    "read_people",
    "read_scores_csv",
    "read_search_folders",
    "read_strangers",
    "read_trials",
    "require_disjoint_subjects",
    "require_new_photos",
    "scored_pairs",
    "split_people",
    "write_scores_csv",
]
