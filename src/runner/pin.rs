//! Affinity masks, and which CPUs a runner uses for its workload and for itself.

use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use super::topology::{Topology, choose};
use crate::api::Pinning;

/// The CPUs that the calling thread may run on.
///
/// # Errors
/// What `sched_getaffinity(2)` says, e.g. on a machine with more CPUs than a [`CpuSet`] holds (1,024).
pub fn allowed() -> io::Result<Vec<u32>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).map(|cpu| cpu as u32).collect())
}

/// Keeps the calling thread, and what it starts from now on, on these CPUs.
///
/// # Errors
/// What `sched_setaffinity(2)` says: `EINVAL` when none of them exists or is allowed by the cgroup.
pub fn pin_to(cpus: &[u32]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        set.set(cpu as usize)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// What a runner was told about its place on the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PlaceRequest {
    /// This logical CPU, whatever the slots say.
    pub cpu: Option<u32>,
    /// Runner number `slot` of `slots` on this host, from 0.
    pub slot: Option<(u32, u32)>,
    /// Logical CPUs that other runners hold, where they are not those of the other slots.
    pub busy: Vec<u32>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlaceError {
    #[error("CPU {cpu} cannot be used: this process may use {allowed:?}; choose one of those with --cpu")]
    NotAllowed { cpu: u32, allowed: Vec<u32> },
    #[error("slot {slot} does not exist among {slots} slots: they are numbered from 0")]
    NoSuchSlot { slot: u32, slots: u32 },
    #[error("this process may use no CPU that is online")]
    NoCpu,
}

/// Chooses the CPUs of a runner. Without `cpu` and `slot` the workload is not pinned: it may use every CPU
/// the runner may, which is right for one runner with a parallel workload.
///
/// The runner itself (heartbeats, sampler, pipes) gets a CPU that no workload holds, best on a core that no
/// workload uses; where there is none it floats, and the kernel finds the least disturbing moment.
///
/// # Errors
/// A CPU or slot that does not exist here.
pub fn place(topology: &Topology, request: &PlaceRequest) -> Result<Pinning, PlaceError> {
    let order = choose(topology, topology.cpus.len());
    if order.is_empty() {
        return Err(PlaceError::NoCpu);
    }
    let of_slot = |slot: u32| order[slot as usize % order.len()];
    let mut busy = request.busy.clone();
    let mut own = request.cpu;
    if let Some((slot, slots)) = request.slot {
        if slot >= slots {
            return Err(PlaceError::NoSuchSlot { slot, slots });
        }
        own = own.or(Some(of_slot(slot)));
        busy.extend((0..slots).filter(|&other| other != slot).map(of_slot));
    }
    let Some(cpu) = own else { return Ok(Pinning::default()) };
    if topology.cpu(cpu).is_none() {
        return Err(PlaceError::NotAllowed { cpu, allowed: topology.ids() });
    }
    let siblings = topology.siblings(cpu);
    // More slots than CPUs: the other runner is on this very CPU, which shares more than the core.
    let busy_siblings = siblings.iter().copied().chain([cpu]).filter(|other| busy.contains(other)).collect();
    let beat_cpu = free_cpu(topology, &order, cpu, &busy);
    Ok(Pinning { cpu: Some(cpu), beat_cpu, siblings, busy_siblings })
}

/// A CPU on which nobody measures: on a free core if there is one, else a sibling of somebody else's.
fn free_cpu(topology: &Topology, order: &[u32], cpu: u32, busy: &[u32]) -> Option<u32> {
    let is_taken = |id: u32| id == cpu || busy.contains(&id);
    let shares_core = |id: u32| topology.siblings(id).into_iter().any(is_taken);
    let mut free: Vec<u32> = order.iter().copied().filter(|&id| !is_taken(id)).collect();
    // The last in the order of choice is the one that the next workload would get last.
    free.reverse();
    free.sort_by_key(|&id| (shares_core(id), topology.siblings(cpu).contains(&id)));
    free.first().copied()
}

#[cfg(test)]
mod tests {
    use super::super::topology::tests::machine;
    use super::*;

    fn slot(slot: u32, slots: u32) -> PlaceRequest {
        PlaceRequest { slot: Some((slot, slots)), ..PlaceRequest::default() }
    }

    #[test]
    fn one_runner_on_two_cores_beats_on_the_other() {
        let pinning = place(&machine(1, 2, 1), &slot(0, 1)).unwrap();
        assert_eq!((pinning.cpu, pinning.beat_cpu), (Some(1), Some(0)));
    }

    #[test]
    fn as_many_runners_as_cpus_leave_none_for_the_beats() {
        let pinning = place(&machine(1, 2, 1), &slot(1, 2)).unwrap();
        assert_eq!((pinning.cpu, pinning.beat_cpu), (Some(0), None));
        assert!(pinning.busy_siblings.is_empty());
    }

    #[test]
    fn siblings_that_share_the_core_are_named() {
        // One core, two threads, two runners: what a two-vCPU machine with SMT is.
        let pinning = place(&machine(1, 1, 2), &slot(0, 2)).unwrap();
        assert_eq!((pinning.siblings, pinning.busy_siblings), (vec![1], vec![1]));
        // Two cores, two runners: siblings exist, nobody works on them, and the beats go to one.
        let pinning = place(&machine(1, 2, 2), &slot(0, 2)).unwrap();
        assert_eq!(pinning.cpu, Some(1));
        assert_eq!((pinning.siblings, pinning.busy_siblings), (vec![3], vec![]));
        assert_eq!(pinning.beat_cpu, Some(2), "the sibling of the other runner, not the own one");
    }

    #[test]
    fn more_slots_than_cpus_share_them_and_say_so() {
        let pinning = place(&machine(1, 2, 1), &slot(2, 4)).unwrap();
        assert_eq!((pinning.cpu, pinning.busy_siblings), (Some(1), vec![1]));
    }

    #[test]
    fn an_explicit_cpu_wins_and_must_be_usable() {
        let request = PlaceRequest { cpu: Some(3), busy: vec![2], ..slot(0, 1) };
        let pinning = place(&machine(1, 4, 1), &request).unwrap();
        assert_eq!((pinning.cpu, pinning.beat_cpu), (Some(3), Some(0)));
        let request = PlaceRequest { cpu: Some(9), ..PlaceRequest::default() };
        assert!(matches!(place(&machine(1, 4, 1), &request), Err(PlaceError::NotAllowed { cpu: 9, .. })));
    }

    #[test]
    fn without_cpu_and_slot_nothing_is_pinned() {
        assert_eq!(place(&machine(1, 4, 1), &PlaceRequest::default()).unwrap(), Pinning::default());
    }

    #[test]
    fn a_thread_can_be_pinned_to_each_cpu_it_may_use() {
        std::thread::spawn(|| {
            for cpu in allowed().unwrap() {
                pin_to(&[cpu]).unwrap();
                assert_eq!(allowed().unwrap(), [cpu]);
            }
        })
        .join()
        .unwrap();
    }
}
