//! What a task runner of this machine is started with.

use super::{LocalAlias, LocalRunners};
use crate::runner::topology;

/// The whole argument list: of this program, or of the container engine that runs it.
pub(super) fn runner_arguments(
    runners: &LocalRunners,
    alias: &LocalAlias,
    slot: usize,
    pinned: &[u32],
) -> Vec<String> {
    let cpu = pinned[slot];
    let runner_id = format!("{}-{}-{slot}", runners.run_id, alias.alias);
    let mut arguments: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(ToString::to_string));
    let key_file = runners.key_file.display().to_string();
    if let Some(container) = &alias.container {
        let program = runners.program.display().to_string();
        add(&["run", "--rm", "--init", "--interactive", "--network", "host"]);
        add(&["--name", &format!("bench-{runner_id}")]);
        add(&["--label", &format!("bench_run_id={}", runners.run_id)]);
        add(&["--cpuset-cpus", &cpu.to_string()]);
        add(&["--volume", &format!("{program}:/usr/local/bin/bench:ro")]);
        add(&["--volume", &format!("{key_file}:/run/bench.key:ro")]);
        for folder in &container.folders {
            let folder = folder.display();
            add(&["--volume", &format!("{folder}:{folder}")]);
        }
        add(&["--workdir", &runners.working_directory.display().to_string()]);
        add(&["--entrypoint", "/usr/local/bin/bench", &container.image]);
    }
    let key_file = if alias.container.is_some() { "/run/bench.key" } else { &key_file };
    add(&["runner", "--orchestrator-url", &runners.orchestrator_url]);
    if let Some(pin) = &runners.orchestrator_pin {
        add(&["--orchestrator-pin", pin]);
    }
    add(&["--api-key-file", key_file, "--run-id", runners.run_id.as_str()]);
    add(&["--provider", &runners.provider, "--instance-type", &alias.instance_type]);
    add(&["--alias", alias.alias.as_str(), "--runner-id", &runner_id]);
    if alias.container.is_none() {
        add(&["--undelivered", &runners.undelivered.display().to_string()]);
    }
    add(&["--cpu", &cpu.to_string(), "--parent-pipe"]);
    let neighbours: Vec<u32> = pinned.iter().copied().filter(|other| *other != cpu).collect();
    if !neighbours.is_empty() {
        add(&["--busy-cpus", &topology::format_list(&neighbours)]);
    }
    if runners.debug {
        add(&["--debug"]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::super::Container;
    use super::*;

    fn runners() -> LocalRunners {
        LocalRunners {
            run_id: "r1".parse().unwrap(),
            provider: "local".into(),
            orchestrator_url: "http://127.0.0.1:4000".into(),
            orchestrator_pin: None,
            key_file: "/home/me/.bench/runs/r1/run.key".into(),
            program: "/opt/bench".into(),
            working_directory: "/home/me".into(),
            cpu_locks: "/home/me/.bench/locks".into(),
            logs: "/home/me/.bench/runs/r1/logs".into(),
            undelivered: "/home/me/.bench/runs/r1/undelivered".into(),
            debug: false,
        }
    }

    fn alias(container: Option<Container>) -> LocalAlias {
        LocalAlias {
            alias: "here".parse().unwrap(),
            instance_type: if container.is_some() { "docker" } else { "process" }.into(),
            slots: 2,
            container,
        }
    }

    #[test]
    fn a_runner_is_given_its_cpu_its_neighbours_and_a_key_file_but_never_a_key() {
        let arguments = runner_arguments(&runners(), &alias(None), 1, &[0, 2]);
        assert_eq!(
            arguments.join(" "),
            "runner --orchestrator-url http://127.0.0.1:4000 \
             --api-key-file /home/me/.bench/runs/r1/run.key --run-id r1 --provider local \
             --instance-type process --alias here --runner-id r1-here-1 \
             --undelivered /home/me/.bench/runs/r1/undelivered --cpu 2 --parent-pipe --busy-cpus 0"
        );
    }

    #[test]
    fn a_container_is_pinned_and_runs_this_very_program() {
        let container = Container {
            engine: "/usr/bin/docker".into(),
            image: "debian:12".into(),
            folders: vec!["/home/me".into(), "/srv/data".into()],
        };
        let arguments = runner_arguments(&runners(), &alias(Some(container)), 0, &[3]);
        assert_eq!(
            arguments.join(" "),
            "run --rm --init --interactive --network host --name bench-r1-here-0 \
             --label bench_run_id=r1 --cpuset-cpus 3 --volume /opt/bench:/usr/local/bin/bench:ro \
             --volume /home/me/.bench/runs/r1/run.key:/run/bench.key:ro \
             --volume /home/me:/home/me --volume /srv/data:/srv/data --workdir /home/me \
             --entrypoint /usr/local/bin/bench debian:12 \
             runner --orchestrator-url http://127.0.0.1:4000 --api-key-file /run/bench.key --run-id r1 \
             --provider local --instance-type docker --alias here --runner-id r1-here-0 --cpu 3 --parent-pipe"
        );
    }
}
