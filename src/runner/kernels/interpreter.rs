//! `interpreter`: a loop of loads, a dispatch on data and dependent stack operations, as in the virtual
//! machines of scripting languages: indirect branches and store-to-load forwarding.
//!
//! Method: a stack machine of our own with 12 instructions counts the steps of the Collatz sequences of the
//! first numbers; the expected sum is computed natively.

use super::{Kernel, Scale, Work};

const NUMBERS: u64 = 8_000;

pub(super) const KERNEL: Kernel = Kernel {
    name: "interpreter",
    description: "indirect branches: a stack machine counts Collatz steps",
    working_set_bytes: 4096,
    work_per_iteration: NUMBERS,
    work_unit: "Collatz sequences",
    prepare: |scale| Box::new(Interpreter::new(scale)),
};

#[derive(Debug, Clone, Copy)]
enum Op {
    Push(u64),
    Load(usize),
    Store(usize),
    Add,
    Mul,
    ShiftRight,
    And,
    Equal,
    Less,
    Jump(usize),
    JumpIf(usize),
    Halt,
}

/// Variables: 0 `n`, 1 `limit`, 2 `x`, 3 `steps`. Jump targets are places in this list.
const PROGRAM: &[Op] = &[
    /*  0 */ Op::Push(1),
    /*  1 */ Op::Store(0),
    // next number, or end
    /*  2 */ Op::Load(1),
    /*  3 */ Op::Load(0),
    /*  4 */ Op::Less,
    /*  5 */ Op::JumpIf(35),
    /*  6 */ Op::Load(0),
    /*  7 */ Op::Store(2),
    // while x != 1
    /*  8 */ Op::Load(2),
    /*  9 */ Op::Push(1),
    /* 10 */ Op::Equal,
    /* 11 */ Op::JumpIf(30),
    /* 12 */ Op::Load(3),
    /* 13 */ Op::Push(1),
    /* 14 */ Op::Add,
    /* 15 */ Op::Store(3),
    /* 16 */ Op::Load(2),
    /* 17 */ Op::Push(1),
    /* 18 */ Op::And,
    /* 19 */ Op::JumpIf(24),
    // even: x / 2
    /* 20 */ Op::Load(2),
    /* 21 */ Op::ShiftRight,
    /* 22 */ Op::Store(2),
    /* 23 */ Op::Jump(8),
    // odd: 3 x + 1
    /* 24 */ Op::Load(2),
    /* 25 */ Op::Push(3),
    /* 26 */ Op::Mul,
    /* 27 */ Op::Push(1),
    /* 28 */ Op::Add,
    /* 29 */ Op::Jump(22),
    // n += 1
    /* 30 */ Op::Load(0),
    /* 31 */ Op::Push(1),
    /* 32 */ Op::Add,
    /* 33 */ Op::Store(0),
    /* 34 */ Op::Jump(2),
    /* 35 */ Op::Load(3),
    /* 36 */ Op::Halt,
];

struct Interpreter {
    program: Vec<Op>,
    numbers: u64,
    expected: u64,
    result: u64,
}

impl Interpreter {
    fn new(scale: Scale) -> Interpreter {
        let numbers = scale.pick(NUMBERS, 50);
        let expected = (1..=numbers).map(collatz_steps).sum();
        Interpreter { program: PROGRAM.to_vec(), numbers, expected, result: 0 }
    }
}

fn collatz_steps(start: u64) -> u64 {
    let next = |x: &u64| (*x != 1).then(|| if x.is_multiple_of(2) { x / 2 } else { 3 * x + 1 });
    std::iter::successors(Some(start), next).count() as u64 - 1
}

impl Work for Interpreter {
    fn reset(&mut self) {
        self.result = 0;
    }
    fn iterate(&mut self) {
        self.result = execute(std::hint::black_box(&self.program), self.numbers);
    }
    fn checksum(&self) -> u64 {
        self.result
    }
    fn expected(&self) -> u64 {
        self.expected
    }
}

fn execute(program: &[Op], limit: u64) -> u64 {
    let mut variables = [0, limit, 0, 0];
    let mut stack = [0_u64; 64];
    // Place of the next free cell. Masked, so that no index needs a check.
    let mut top = 0_usize;
    let mut at = 0;
    macro_rules! pop {
        () => {{
            top = top.wrapping_sub(1) & 63;
            stack[top]
        }};
    }
    macro_rules! push {
        ($value:expr) => {{
            let value = $value;
            stack[top] = value;
            top = (top + 1) & 63;
        }};
    }
    loop {
        let op = program[at];
        at += 1;
        match op {
            Op::Push(value) => push!(value),
            Op::Load(variable) => push!(variables[variable & 3]),
            Op::Store(variable) => variables[variable & 3] = pop!(),
            Op::Add => push!(pop!().wrapping_add(pop!())),
            Op::Mul => push!(pop!().wrapping_mul(pop!())),
            Op::ShiftRight => push!(pop!() >> 1),
            Op::And => push!(pop!() & pop!()),
            Op::Equal => push!(u64::from(pop!() == pop!())),
            Op::Less => {
                let right = pop!();
                push!(u64::from(pop!() < right));
            }
            Op::Jump(target) => at = target,
            Op::JumpIf(target) => {
                if pop!() != 0 {
                    at = target;
                }
            }
            Op::Halt => return pop!(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_counts_as_the_native_code_does() {
        assert_eq!(collatz_steps(27), 111, "the sequence of 27 is the textbook's");
        for limit in [1, 2, 27, 100] {
            assert_eq!(execute(PROGRAM, limit), (1..=limit).map(collatz_steps).sum::<u64>());
        }
    }
}
