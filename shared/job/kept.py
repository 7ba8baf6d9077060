"""Which files of a job are gone by its state and by what was to be kept, and what that means for a re-run. Pure.

Lives here: the table of what goes, and what follows from it: the stages that a re-run has to run again, whether it can
be run again at all, and the bytes that the job takes. Does not live here: the choice (`shared.keeping`) and removing
files (`services.library.clearing`).

Nothing goes before the job has ended. After a failure only what must not be stored at all goes: the rest serves a
re-run, and its log says why it is needed.
"""

from shared.artifacts import Artifact
from shared.events.names import Stage
from shared.job.model import Job, JobState, StageStatus
from shared.job.stages import GRAPH
from shared.keeping import Keeping
from shared.layout import ASR_AUDIO, FINAL_MIX, JOB_LOG, LOGS, OLD_JOB_LOG, WORK

SOUND = ".wav"
SOURCE_SOUND = frozenset({ASR_AUDIO, FINAL_MIX})
"""What is heard in it is, at least in part, the source."""
LOG_FILES = frozenset({LOGS, JOB_LOG, OLD_JOB_LOG})
_WELL_ENDED = (JobState.DONE, JobState.CANCELED)


def goes_from_work(keeping: Keeping, state: JobState, name: str) -> bool:
    """Return whether an entry of the job's work directory goes. All there but sound is text, or spoken lines of it."""
    if not state.terminal:
        return False
    sound = name.endswith(SOUND)
    if state in _WELL_ENDED and (keeping.cache == "minimal" or (keeping.cache == "balanced" and sound)):
        return True
    return (not keeping.transcript and not sound) or (not keeping.source_audio and name in SOURCE_SOUND)


def goes_from_base(keeping: Keeping, state: JobState, name: str) -> bool:
    """Return whether an entry of the job's base directory goes."""
    return not keeping.logs and state in _WELL_ENDED and name in LOG_FILES


def source_goes(job: Job) -> bool:
    """Return whether the uploaded video goes. One that is not dubbed yet stays for a re-run, or for the deletion."""
    return job.submitted.keeping.private and job.state is JobState.DONE


def anything_goes(job: Job) -> bool:
    """Return whether there is something to remove, as far as the state tells."""
    return job.state.terminal and not job.submitted.keeping.everything


def is_gone(job: Job, artifact: Artifact) -> bool:
    """Return whether a file that a stage made is not kept."""
    work = f"{job.submitted.base_dir}/{WORK}/{job.id}/"
    name = artifact.path.removeprefix(work).partition("/")[0]
    return artifact.path.startswith(work) and goes_from_work(job.submitted.keeping, job.state, name)


def kept_outputs(job: Job, stage: Stage) -> list[Artifact]:
    """Return the files of a stage that are kept."""
    outputs = job.stages[stage].outputs
    return [made for made in outputs if not is_gone(job, made)] if anything_goes(job) else outputs


def made_anew(job: Job) -> frozenset[Stage]:
    """Return the finished stages that a re-run runs again: a stage that it runs reads what is gone of them."""
    if not anything_goes(job):
        return frozenset()
    runs = {name for name, stage in job.stages.items() if stage.status is not StageStatus.DONE}
    for name in reversed(list(GRAPH)):
        if name in runs:
            runs |= {need for need in GRAPH[name] if any(is_gone(job, made) for made in job.stages[need].outputs)}
    return frozenset(runs) & job.done_stages


def can_run_again(job: Job) -> bool:
    """Return whether what the job was given is still there, as far as a re-run needs it."""
    return not source_goes(job) and made_anew(job).isdisjoint(job.submitted.imports)


def stored_bytes(job: Job) -> int:
    """Return what the job counts against its owner's quota; an imported one counts nothing."""
    if job.imported is not None:
        return 0
    source = 0 if source_goes(job) else job.submitted.source.size
    return source + sum(made.size for stage in job.stages for made in kept_outputs(job, stage))
