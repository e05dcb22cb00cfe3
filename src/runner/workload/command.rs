//! Any command: the user's program, with its setup, folder, environment and output.

use std::path::{Path, PathBuf};

use super::{PreflightError, Script, Source, Step, Surroundings, reader};
use crate::api::workload::TASK_DIR;
use crate::api::{CommandWorkload, FailKind, OutputFormat};
use crate::runner::ingest;

pub(super) fn script(workload: &CommandWorkload, surroundings: &Surroundings<'_>) -> Script {
    let directory = workload.working_directory.as_ref().map(PathBuf::from);
    let named = |text: &String| with_task_dir(text, surroundings.task_dir);
    let step = |command: &[String], kind| Step {
        command: command.iter().map(named).collect(),
        env: workload.env.clone(),
        directory: directory.clone(),
        on_failure: (kind, None),
    };
    Script {
        setup: workload.setup.iter().map(|command| step(command, FailKind::Setup)).collect(),
        measure: step(&workload.command, FailKind::Exit),
        warmup: workload.warmup,
        repetitions: workload.repetitions.max(1),
        source: workload.output.as_ref().map(|output| match &output.file {
            Some(file) => {
                Source::File(directory.as_deref().unwrap_or(Path::new("")).join(named(file)), reader(output))
            }
            None => Source::Stdout(reader(output)),
        }),
        measures_process: true,
    }
}

/// Commands are started without a shell, which would otherwise put the folder's name in.
fn with_task_dir(text: &str, folder: &Path) -> String {
    let folder = folder.to_string_lossy();
    text.replace(&format!("${{{TASK_DIR}}}"), &folder).replace(&format!("${TASK_DIR}"), &folder)
}

pub(super) fn preflight(workload: &CommandWorkload) -> Result<(), PreflightError> {
    let refuse = |kind, message| Err(PreflightError { kind, message });
    if let Some(output) = &workload.output
        && output.format == OutputFormat::Regex
        && let Err(error) = ingest::check_pattern(output.pattern.as_deref())
    {
        return refuse(FailKind::Output, error.to_string());
    }
    let directory = Path::new(workload.working_directory.as_deref().unwrap_or("."));
    if !directory.is_dir() {
        let folder = directory.display();
        let message =
            format!("the working directory `{folder}` does not exist on this machine; make it first");
        return refuse(FailKind::Spawn, message);
    }
    // The setup may be what makes the program.
    let Some(program) = workload.setup.as_ref().unwrap_or(&workload.command).first() else {
        return refuse(FailKind::Spawn, "the command is empty; name a program".into());
    };
    let path = workload.env.get("PATH").map(Into::into).or_else(|| std::env::var_os("PATH"));
    let directory = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    match which::which_in(program, path, directory) {
        Ok(_) => Ok(()),
        Err(error) => {
            let message = format!(
                "`{program}` cannot be run here: {error}; install it on the host, give its full path, or make \
                 it in `setup`"
            );
            refuse(FailKind::Spawn, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(command: &[&str]) -> CommandWorkload {
        CommandWorkload {
            command: command.iter().map(|&part| part.to_owned()).collect(),
            setup: None,
            env: std::collections::BTreeMap::new(),
            working_directory: None,
            repetitions: 1,
            warmup: 0,
            output: None,
        }
    }

    #[test]
    fn missing_programs_and_folders_are_named_before_anything_runs() {
        assert!(preflight(&workload(&["sh"])).is_ok());
        let error = preflight(&workload(&["no-such-program-here"])).unwrap_err();
        assert!(error.message.contains("`no-such-program-here`"), "{error}");
        let lost = CommandWorkload { working_directory: Some("/no/such".into()), ..workload(&["sh"]) };
        assert!(preflight(&lost).unwrap_err().message.contains("/no/such"));
        let made = CommandWorkload { setup: Some(vec!["sh".into()]), ..workload(&["./made-by-setup"]) };
        assert!(preflight(&made).is_ok());
    }

    #[test]
    fn a_relative_program_is_looked_for_in_the_working_directory() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("go.sh");
        fs_err::write(&file, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        let inside = Some(folder.path().to_string_lossy().into_owned());
        assert!(preflight(&CommandWorkload { working_directory: inside, ..workload(&["./go.sh"]) }).is_ok());
        assert!(preflight(&workload(&["./go.sh"])).is_err());
    }

    #[test]
    fn an_output_file_is_relative_to_the_working_directory() {
        let file = Some("out.json".into());
        let output = crate::api::OutputSource { file, format: OutputFormat::Bmf, pattern: None };
        let working_directory = Some("/srv".into());
        let workload = CommandWorkload { output: Some(output), working_directory, ..workload(&["sh"]) };
        assert!(
            matches!(made(&workload).source, Some(Source::File(path, _)) if path == Path::new("/srv/out.json"))
        );
    }

    #[test]
    fn the_task_s_own_folder_is_put_in_by_name() {
        let file = Some("${BENCH_TASK_DIR}/out.json".into());
        let output = crate::api::OutputSource { file, format: OutputFormat::Bmf, pattern: None };
        let command = workload(&["hyperfine", "--export-json=$BENCH_TASK_DIR/out.json", "$BENCH_CPU"]);
        let script = made(&CommandWorkload { output: Some(output), ..command });
        assert_eq!(script.measure.command, ["hyperfine", "--export-json=/tmp/t/out.json", "$BENCH_CPU"]);
        assert!(matches!(script.source, Some(Source::File(path, _)) if path == Path::new("/tmp/t/out.json")));
    }

    fn made(workload: &CommandWorkload) -> Script {
        let (program, folder) = (Path::new("bench"), Path::new("/tmp/t"));
        script(workload, &Surroundings { program, scratch: folder, task_dir: folder, shared: folder })
    }
}
