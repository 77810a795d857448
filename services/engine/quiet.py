"""Parts of the engine that nobody looks into: for benches and tests of the others."""

from services.engine.measures import Measures
from services.engine.steps import StepLane
from services.engine.tracks import Tracks
from shared.telemetry.metrics import Metrics
from shared.telemetry.recorder import Recorder


def quiet_tracks() -> Tracks:
    return Tracks(Recorder("engine"), Measures(Metrics("sluice_engine")), "quiet")


def quiet_lane() -> StepLane:
    recorder, measures = Recorder("engine"), Measures(Metrics("sluice_engine"))
    return StepLane(recorder, Tracks(recorder, measures, "quiet"), measures)
