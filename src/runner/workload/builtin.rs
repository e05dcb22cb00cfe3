//! The benchmark inside the binary, run in a process of its own so that it is pinned, timed and killable
//! like any other workload.

use std::collections::BTreeMap;

use super::{Reader, Script, Source, Step, Surroundings};
use crate::api::{Builtin, FailKind};

pub(super) fn script(builtin: Builtin, surroundings: &Surroundings<'_>) -> Script {
    let Builtin::Cpu = builtin;
    let results = surroundings.scratch.join("kernels.json");
    let command = vec![
        surroundings.program.to_string_lossy().into_owned(),
        "kernels".into(),
        "--results".into(),
        results.to_string_lossy().into_owned(),
    ];
    let measure = Step { command, env: BTreeMap::new(), directory: None, on_failure: (FailKind::Exit, None) };
    Script {
        setup: Vec::new(),
        measure,
        // The kernels warm up and repeat by themselves.
        warmup: 0,
        repetitions: 1,
        source: Some(Source::File(results, Reader::Kernels)),
        measures_process: false,
    }
}
