"""How many workers one machine has, and that they do not fight over it."""

import os
from pathlib import Path

import pytest

from services.standalone import ports
from services.standalone.plan import ConfigurationError, make_plan
from services.standalone.workers import has_cuda, worker_count, worker_specs
from shared.settings import Settings


def test_one_worker_with_all_processors_is_the_default() -> None:
    (only,) = worker_specs({}, cuda=False, processors=8, host="box")
    assert (only.name, only.worker_id, only.pool, only.threads) == ("worker", "box-cpu-1", "cpu", 8)
    assert "CUDA_VISIBLE_DEVICES" not in only.environment


def test_several_workers_share_the_processors_and_have_ids_that_stay() -> None:
    specs = worker_specs({"DUBLINE_WORKERS": "3"}, cuda=False, processors=8, host="box")
    assert [spec.worker_id for spec in specs] == ["box-cpu-1", "box-cpu-2", "box-cpu-3"]
    assert [spec.name for spec in specs] == ["worker", "worker-cpu-2", "worker-cpu-3"]
    assert {spec.threads for spec in specs} == {2}
    assert specs == worker_specs({"DUBLINE_WORKERS": "3"}, cuda=False, processors=8, host="box")


def test_more_workers_than_processors_have_one_thread_each() -> None:
    assert {spec.threads for spec in worker_specs({"DUBLINE_WORKERS": "4"}, cuda=False, processors=2)} == {1}


def test_threads_that_an_operator_chose_are_each_workers_own() -> None:
    chosen = {"DUBLINE_WORKERS": "2", "DUBLINE_WORKER_THREADS": "6"}
    assert [spec.threads for spec in worker_specs(chosen, cuda=False, processors=8)] == [6, 6]


def test_a_gpu_has_one_worker_of_its_own_and_is_hidden_from_the_others() -> None:
    first, second, gpu = worker_specs({"DUBLINE_WORKERS": "2"}, cuda=True, processors=8, host="box")
    assert (gpu.worker_id, gpu.pool) == ("box-gpu-1", "gpu")
    assert "CUDA_VISIBLE_DEVICES" not in gpu.environment
    assert [spec.environment["CUDA_VISIBLE_DEVICES"] for spec in (first, second)] == ["", ""]


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "65"])
def test_a_number_of_workers_that_makes_no_sense_is_refused_by_name(value: str) -> None:
    with pytest.raises(ValueError, match="DUBLINE_WORKERS"):
        worker_count({"DUBLINE_WORKERS": value})


def test_a_number_of_threads_that_makes_no_sense_is_refused_by_name(tmp_path: Path) -> None:
    (port,) = ports.choose(["gateway"], {}).values()
    with pytest.raises(ConfigurationError, match="DUBLINE_WORKER_THREADS"):
        make_plan(Settings(data_dir=tmp_path, port=port), {"DUBLINE_WORKER_THREADS": "all"})


def test_a_machine_without_device_files_is_not_asked_for_a_gpu(tmp_path: Path) -> None:
    assert not has_cuda(tmp_path)


def test_each_further_worker_is_ready_by_its_own_word(tmp_path: Path) -> None:
    (port,) = ports.choose(["gateway"], {}).values()
    plan = make_plan(Settings(data_dir=tmp_path, port=port), {"PATH": os.defpath, "DUBLINE_WORKERS": "3"})
    workers = [service for service in plan.services if service.name.startswith("worker")]
    assert len({service.ready_url for service in workers}) == 3
    assert len({service.environment["DUBLINE_WORKER_ID"] for service in workers}) == 3
    for service in workers[1:]:
        assert service.ready_url == f"http://127.0.0.1:{service.environment['DUBLINE_WORKER_PORT']}/readyz"
