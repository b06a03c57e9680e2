"""Ray's own Job API on a Ray of its own: what submitting a command costs without a market.

It must run as the first process of network and PID namespaces of its own (COMMAND), for Ray listens on every
interface and leaves processes behind. For each line of its standard input it submits that command and writes the
milliseconds until Ray says that the job has succeeded.
"""

import subprocess
import sys
import tempfile
import time

START_SECONDS_MAX = 120
LOOK_SECONDS = 0.005
JOB_SECONDS_MAX = 60.0
COMMAND = (
    *("unshare", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"),
    *(sys.executable, "-m", "benchmarks.ray_jobs"),
)
ADDRESS = "http://127.0.0.1:8265"


def main() -> None:
    """Start Ray and answer lines; Ray ends with this process."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory(prefix="gridbay-bench-ray-", ignore_cleanup_errors=True) as folder:
        _start_ray(folder)
        from ray.job_submission import JobStatus, JobSubmissionClient  # noqa: PLC0415 (seconds, once Ray is up)

        client = JobSubmissionClient(ADDRESS)
        print("ready", flush=True)
        for line in sys.stdin:
            began = time.monotonic_ns()
            job_id = client.submit_job(entrypoint=line.strip())
            while (status := client.get_job_status(job_id)) is not JobStatus.SUCCEEDED:
                if (
                    status in (JobStatus.FAILED, JobStatus.STOPPED)
                    or time.monotonic_ns() - began > JOB_SECONDS_MAX * 1e9
                ):
                    sys.exit(f"Ray's job came to nothing: {status}")
                time.sleep(LOOK_SECONDS)
            print((time.monotonic_ns() - began) / 1e6, flush=True)


def _start_ray(folder: str) -> None:
    """A head with the dashboard, which serves the Job API."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--include-dashboard", "true"]
    command += ["--node-ip-address", "127.0.0.1", "--temp-dir", folder, "--num-cpus", "2", "--num-gpus", "0"]
    command += ["--object-store-memory", "78643200", "--disable-usage-stats"]
    subprocess.run(command, check=True, timeout=START_SECONDS_MAX, stdin=subprocess.DEVNULL, stdout=sys.stderr)


if __name__ == "__main__":
    main()
