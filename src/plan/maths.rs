//! The two formulas that everything else is sized by.

/// Task runners on one host: `max(1, min(vcpu, count))`; an absent `count` is the caller's default.
pub fn effective_vcpu(vcpu: u32, count: u32) -> u32 {
    vcpu.min(count).max(1)
}

/// Hosts for an alias: `ceil(runs_per_instance_type / effective_vcpu)`.
///
/// # Panics
/// Where `effective_vcpu` is 0, which [`effective_vcpu`] never gives.
pub fn instances_needed(runs_per_instance_type: u32, effective_vcpu: u32) -> u32 {
    runs_per_instance_type.div_ceil(effective_vcpu)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn effective_vcpu_is_the_documented_formula(vcpu in 0_u32.., count in 0_u32..) {
            let wanted = std::cmp::max(1_u128, std::cmp::min(u128::from(vcpu), u128::from(count)));
            prop_assert_eq!(u128::from(effective_vcpu(vcpu, count)), wanted);
        }

        #[test]
        fn instances_needed_is_the_rounded_up_quotient(runs in 0_u32.., effective in 1_u32..) {
            let (runs_wide, effective_wide) = (u128::from(runs), u128::from(effective));
            let wanted = runs_wide / effective_wide + u128::from(runs_wide % effective_wide > 0);
            prop_assert_eq!(u128::from(instances_needed(runs, effective)), wanted);
        }

        #[test]
        fn every_run_has_a_place_and_no_host_is_idle(runs in 1_u32..=1_000_000, vcpu in 1_u32..=1_024, count in 1_u32..=1_000_000) {
            let effective = u64::from(effective_vcpu(vcpu, count));
            let instances = u64::from(instances_needed(runs, effective_vcpu(vcpu, count)));
            prop_assert!(instances * effective >= u64::from(runs));
            prop_assert!((instances - 1) * effective < u64::from(runs));
        }
    }

    #[test]
    fn the_edges_hold() {
        assert_eq!(effective_vcpu(0, 0), 1);
        assert_eq!(effective_vcpu(u32::MAX, u32::MAX), u32::MAX);
        assert_eq!(instances_needed(u32::MAX, 1), u32::MAX);
        assert_eq!(instances_needed(1_000_000, 1_000_000), 1);
        assert_eq!(instances_needed(7, 2), 4);
    }
}
