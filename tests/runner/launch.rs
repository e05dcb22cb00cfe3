//! Processes under the launcher: what is measured, what is kept, and that nothing of them stays.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bench::api::Phase;
use bench::runner::execute::{Executor, Finished, Halt, Spec};
use bench::runner::launchers::Launchers;
use bench::runner::procs;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

fn executor(scratch: &Path) -> Executor {
    Executor {
        launchers: Launchers::new(env!("CARGO_BIN_EXE_bench")),
        scratch: scratch.to_owned(),
        cpus: bench::runner::pin::allowed().unwrap(),
        grace: Duration::from_millis(300),
        ends_orphans: false,
    }
}

fn shell(script: &str) -> Spec {
    Spec {
        phase: Phase::Measure,
        index: 0,
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: BTreeMap::new(),
        directory: None,
    }
}

async fn run_with(spec: &Spec, limit: Duration, halt: &mut watch::Receiver<Halt>) -> Finished {
    let scratch = tempfile::tempdir().unwrap();
    executor(scratch.path()).run(spec, Instant::now() + limit, halt).await.unwrap()
}

async fn run(spec: &Spec) -> Finished {
    let (_keep, mut halt) = watch::channel(Halt::No);
    run_with(spec, Duration::from_secs(120), &mut halt).await
}

fn is_alive(pid: u32) -> bool {
    procs::parent(pid).is_some()
}

async fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn pids_in(path: &Path, count: usize) -> Option<Vec<u32>> {
    let text = std::fs::read_to_string(path).ok()?;
    let pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    (pids.len() == count && text.ends_with('\n')).then_some(pids)
}

#[tokio::test]
async fn a_process_is_measured_and_its_output_kept() {
    let finished =
        run(&shell("echo out; echo err >&2; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")).await;
    assert!(finished.succeeded(), "{finished:?}");
    assert_eq!((finished.stdout.text(), finished.stderr.text()), ("out\n".into(), "err\n".into()));
    let execution = finished.execution;
    assert!(execution.wall_ns > 0 && execution.user_ns > 0);
    assert!(execution.max_rss_bytes > 100_000, "{}", execution.max_rss_bytes);
}

#[tokio::test]
async fn peak_memory_is_the_workloads_and_not_its_parents() {
    // This process holds much more than the workload ever will.
    let ballast = std::hint::black_box(vec![1_u8; 200 << 20]);
    let small = run(&shell("exec true")).await.execution.max_rss_bytes;
    assert!(small < 30 << 20, "{small} bytes for `true` beside {} of the parent", ballast.len());
    let large =
        run(&shell("head -c 60000000 /dev/zero | tail -n 1 > /dev/null")).await.execution.max_rss_bytes;
    assert!(large > small + (40 << 20), "{large} bytes for a child that holds 60 MB, {small} for `true`");
}

#[tokio::test]
async fn exit_status_signal_and_a_missing_program_are_told_apart() {
    assert_eq!(run(&shell("exit 7")).await.execution.exit_status, Some(7));
    let killed = run(&shell("kill -SEGV $$")).await.execution;
    assert_eq!((killed.exit_status, killed.signal), (None, Some(11)));
    let missing = run(&Spec { command: vec!["/no/such/program".into()], ..shell("") }).await;
    assert!(
        missing.spawn_error.as_deref().is_some_and(|error| error.contains("No such file")),
        "{missing:?}"
    );
}

#[tokio::test]
async fn the_workload_runs_on_the_cpus_it_was_given() {
    let scratch = tempfile::tempdir().unwrap();
    let (_keep, mut halt) = watch::channel(Halt::No);
    for cpu in bench::runner::pin::allowed().unwrap() {
        let executor = Executor { cpus: vec![cpu], ..executor(scratch.path()) };
        let spec = shell("grep Cpus_allowed_list /proc/self/status");
        let finished =
            executor.run(&spec, Instant::now() + Duration::from_secs(60), &mut halt).await.unwrap();
        assert_eq!(finished.stdout.text(), format!("Cpus_allowed_list:\t{cpu}\n"));
    }
}

#[tokio::test]
async fn keys_do_not_reach_the_workload_and_its_own_variables_do() {
    let mut spec = shell("echo ${BENCH_RUN_KEY-none} ${BENCH_ALIAS}; pwd; ls -l /proc/self/fd/0");
    spec.env =
        BTreeMap::from([("BENCH_ALIAS".into(), "c7g".into()), ("BENCH_RUN_KEY".into(), "rk.x".into())]);
    spec.directory = Some("/".into());
    let text = run(&spec).await.stdout.text();
    assert!(text.starts_with("none c7g\n/\n"), "{text}");
    assert!(text.contains("/dev/null"), "{text}");
}

#[tokio::test]
async fn a_timeout_ends_the_whole_tree_even_what_ignores_signals_or_left_the_group() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let script = format!(
        "trap '' TERM; echo $$ >> {0}; setsid sh -c 'echo $$ >> {0}; exec sleep 300' & \
         sh -c 'trap \"\" TERM; echo $$ >> {0}; sleep 300; sleep 300' & wait; sleep 300",
        pids.display()
    );
    let (_keep, mut halt) = watch::channel(Halt::No);
    let finished = run_with(&shell(&script), Duration::from_secs(3), &mut halt).await;
    assert!(finished.execution.timed_out);
    assert_eq!(finished.execution.signal, Some(9), "SIGTERM was ignored");
    let pids = pids_in(&pids, 3).expect("all three started");
    for pid in pids {
        assert!(!is_alive(pid), "{pid} lives on");
    }
}

#[tokio::test]
async fn a_stop_lets_the_workload_tidy_up() {
    let (stop, mut halt) = watch::channel(Halt::No);
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let spec = shell(&format!(
        "trap 'echo tidied; exit 3' TERM; echo $$ > {}; while :; do sleep 0.01; done",
        ready.display()
    ));
    let stopper = async {
        wait_for("the workload", || pids_in(&ready, 1)).await;
        stop.send(Halt::Gracefully).unwrap();
    };
    let (finished, ()) = tokio::join!(run_with(&spec, Duration::from_secs(120), &mut halt), stopper);
    assert_eq!((finished.stdout.text().as_str(), finished.execution.exit_status), ("tidied\n", Some(3)));
    assert!(!finished.execution.timed_out);
}

#[tokio::test]
async fn a_daemon_that_keeps_the_pipe_open_neither_hangs_the_task_nor_stays() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script = format!(
        "setsid sh -c 'echo $$ > {0}; exec sleep 300' & while ! [ -s {0} ]; do sleep 0.01; done; echo done",
        pid.display()
    );
    let finished = run(&shell(&script)).await;
    assert!(finished.succeeded());
    assert_eq!(finished.stdout.text(), "done\n");
    assert!(!is_alive(pids_in(&pid, 1).unwrap()[0]));
}

#[tokio::test]
async fn a_flood_of_output_is_cut_and_the_cut_is_said() {
    let finished = run(&shell("echo first; head -c 50000000 /dev/zero; echo; echo last")).await;
    let figures = finished.stdout.figures();
    assert_eq!(figures.total_bytes, 50_000_012);
    assert!(figures.kept_bytes <= 2 << 20);
    let text = finished.stdout.text();
    assert!(text.starts_with("first\n") && text.ends_with("last\n") && text.contains("bytes cut here"));
}

#[tokio::test]
async fn when_the_launcher_is_killed_so_is_the_workload() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let spec = shell(&format!("echo $PPID > {0}; echo $$ >> {0}; sleep 300; true", file.display()));
    let (_keep, mut halt) = watch::channel(Halt::No);
    let scratch = tempfile::tempdir().unwrap();
    let executor = executor(scratch.path());
    let killer = async {
        let pids = wait_for("the workload", || pids_in(&file, 2)).await;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pids[0] as i32), nix::sys::signal::SIGKILL)
            .unwrap();
        pids[1]
    };
    let (result, workload) =
        tokio::join!(executor.run(&spec, Instant::now() + Duration::from_secs(120), &mut halt), killer);
    assert!(result.unwrap_err().to_string().contains("left no report"));
    wait_for("the workload's end", || (!is_alive(workload)).then_some(())).await;
}
