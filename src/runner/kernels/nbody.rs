//! `float-nbody`: chains of dependent double-precision operations with square roots and divisions: the latency
//! of the floating-point units, all data in registers and the first-level cache.
//!
//! Method: the planets' problem of the Computer Language Benchmarks Game (symplectic integrator, constants as
//! published there). Only exactly rounded operations, so the energy at the end is the same bits everywhere.

use super::{Kernel, Scale, Work};

const STEPS: u32 = 500_000;

pub(super) const KERNEL: Kernel = Kernel {
    name: "float-nbody",
    description: "floating-point latency: n-body steps with square roots and divisions",
    working_set_bytes: (5 * size_of::<Body>()) as u64,
    work_per_iteration: STEPS as u64,
    work_unit: "steps of five bodies",
    prepare: |scale| Box::new(Nbody::new(scale)),
};

const SOLAR_MASS: f64 = 4.0 * std::f64::consts::PI * std::f64::consts::PI;
const DAYS_PER_YEAR: f64 = 365.24;

#[derive(Clone, Copy)]
struct Body {
    position: [f64; 3],
    velocity: [f64; 3],
    mass: f64,
}

/// Position in astronomical units, velocity a day, mass in solar masses: Jupiter, Saturn, Uranus, Neptune.
const PLANETS: [([f64; 3], [f64; 3], f64); 4] = [
    (
        [4.841_431_442_464_72e0, -1.160_320_044_027_428_4e0, -1.036_220_444_711_231_1e-1],
        [1.660_076_642_744_037e-3, 7.699_011_184_197_404e-3, -6.904_600_169_720_63e-5],
        9.547_919_384_243_266e-4,
    ),
    (
        [8.343_366_718_244_58e0, 4.124_798_564_124_305e0, -4.035_234_171_143_214e-1],
        [-2.767_425_107_268_624e-3, 4.998_528_012_349_172e-3, 2.304_172_975_737_639_3e-5],
        2.858_859_806_661_308e-4,
    ),
    (
        [1.289_436_956_213_913_1e1, -1.511_115_140_169_863_1e1, -2.233_075_788_926_557_3e-1],
        [2.964_601_375_647_616e-3, 2.378_471_739_594_809_5e-3, -2.965_895_685_402_375_6e-5],
        4.366_244_043_351_563e-5,
    ),
    (
        [1.537_969_711_485_091_7e1, -2.591_931_460_998_796_4e1, 1.792_587_729_503_711_8e-1],
        [2.680_677_724_903_893_2e-3, 1.628_241_700_382_423e-3, -9.515_922_545_197_159e-5],
        5.151_389_020_466_114_5e-5,
    ),
];

struct Nbody {
    bodies: [Body; 5],
    steps: u32,
    expected: u64,
}

impl Nbody {
    fn new(scale: Scale) -> Nbody {
        // Known good: both were also computed by a separate implementation in Python, to the last bit.
        let expected = scale.pick(0xBFC5_A4F4_CFD9_3964, 0xBFC5_A4A9_A352_1FAB);
        Nbody { bodies: solar_system(), steps: scale.pick(STEPS, 1000), expected }
    }
}

impl Work for Nbody {
    fn reset(&mut self) {
        self.bodies = solar_system();
    }
    fn iterate(&mut self) {
        for _ in 0..self.steps {
            advance(&mut self.bodies, 0.01);
        }
    }
    fn checksum(&self) -> u64 {
        energy(&self.bodies).to_bits()
    }
    fn expected(&self) -> u64 {
        self.expected
    }
}

/// Sun and planets, with the sun moving so that the whole does not.
fn solar_system() -> [Body; 5] {
    let planet = |index: usize| {
        let (position, velocity, mass) = PLANETS[index];
        Body { position, velocity: velocity.map(|v| v * DAYS_PER_YEAR), mass: mass * SOLAR_MASS }
    };
    let sun = Body { position: [0.0; 3], velocity: [0.0; 3], mass: SOLAR_MASS };
    let mut bodies = [sun, planet(0), planet(1), planet(2), planet(3)];
    for axis in 0..3 {
        let momentum = bodies.iter().fold(0.0, |sum, body| sum + body.velocity[axis] * body.mass);
        bodies[0].velocity[axis] = -momentum / SOLAR_MASS;
    }
    bodies
}

fn advance(bodies: &mut [Body; 5], dt: f64) {
    for i in 0..5 {
        for j in i + 1..5 {
            let delta: [f64; 3] = std::array::from_fn(|k| bodies[i].position[k] - bodies[j].position[k]);
            let squared = delta[0] * delta[0] + delta[1] * delta[1] + delta[2] * delta[2];
            let magnitude = dt / (squared * squared.sqrt());
            let (mass_i, mass_j) = (bodies[i].mass * magnitude, bodies[j].mass * magnitude);
            for (k, delta) in delta.iter().enumerate() {
                bodies[i].velocity[k] -= delta * mass_j;
                bodies[j].velocity[k] += delta * mass_i;
            }
        }
    }
    for body in bodies {
        for k in 0..3 {
            body.position[k] += dt * body.velocity[k];
        }
    }
}

fn energy(bodies: &[Body; 5]) -> f64 {
    let mut energy = 0.0;
    for (i, body) in bodies.iter().enumerate() {
        let [x, y, z] = body.velocity;
        energy += 0.5 * body.mass * (x * x + y * y + z * z);
        for other in &bodies[i + 1..] {
            let delta: [f64; 3] = std::array::from_fn(|k| body.position[k] - other.position[k]);
            let distance = (delta[0] * delta[0] + delta[1] * delta[1] + delta[2] * delta[2]).sqrt();
            energy -= body.mass * other.mass / distance;
        }
    }
    energy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_energies_are_the_published_ones() {
        let mut bodies = solar_system();
        assert_eq!(format!("{:.9}", energy(&bodies)), "-0.169075164");
        (0..1000).for_each(|_| advance(&mut bodies, 0.01));
        assert_eq!(format!("{:.9}", energy(&bodies)), "-0.169087605");
    }
}
