//! From rules to BPF: a binary search over system call numbers, then the rules of that call in order.

use std::collections::BTreeMap;

use crate::sys::Instruction;

/// What happens to a call that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The kernel executes it.
    Allow,
    /// It fails with this errno; 0: it does nothing and succeeds.
    Errno(i32),
    /// The monitor answers.
    Notify,
}

/// A condition on the low half of an argument (the kernel takes `int`s there).
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// Every call.
    Always,
    /// Argument equals one of these values.
    Is(u8, &'static [u32]),
    /// Argument equals none of these values.
    IsNot(u8, &'static [u32]),
    /// Argument has any of these bits.
    AnyBit(u8, u32),
    /// Argument, a signed number, is more than 0.
    Positive(u8),
    /// Argument under this mask equals one of these values, and the argument `given` is not 0.
    MaskedGiven { argument: u8, mask: u32, values: &'static [u32], given: u8 },
    /// Argument under this mask equals this value.
    Masked(u8, u32, u32),
}

/// One system call, a condition and what happens then. The first match of a call wins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) nr: u32,
    pub(crate) when: When,
    pub(crate) action: Action,
}

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const IF_BITS: u16 = 0x45;

const OFFSET_NR: u32 = 0;
const OFFSET_ARCH: u32 = 4;
/// `AUDIT_ARCH_X86_64` or `AUDIT_ARCH_AARCH64`: a step's calls are this machine's own.
pub(crate) const ARCH: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
const X32_BIT: u32 = 0x4000_0000;

/// Calls newer than the baseline do not exist, so that a newer kernel changes nothing that a step sees.
const FIRST_UNKNOWN: u32 = 463;

fn statement(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn branch(code: u16, k: u32, then: u8, otherwise: u8) -> Instruction {
    Instruction { code, jt: then, jf: otherwise, k }
}

fn returns(action: Action) -> Instruction {
    let value = match action {
        Action::Allow => libc::SECCOMP_RET_ALLOW,
        Action::Errno(errno) => libc::SECCOMP_RET_ERRNO | errno.cast_unsigned(),
        Action::Notify => libc::SECCOMP_RET_USER_NOTIF,
    };
    statement(RETURN, value)
}

fn load_argument(index: u8) -> Instruction {
    statement(LOAD, 16 + 8 * u32::from(index))
}

/// The code of one rule; falls through when it does not match.
fn body(rule: &Rule) -> Vec<Instruction> {
    let hit = returns(rule.action);
    match rule.when {
        When::Always => vec![hit],
        When::Is(argument, values) => {
            let mut code = vec![load_argument(argument)];
            for (at, value) in values.iter().enumerate() {
                let left = values.len() - at - 1;
                let jump = u8::try_from(left).expect("value lists are short");
                code.push(branch(IF_EQUAL, *value, jump, u8::from(left == 0)));
            }
            code.push(hit);
            code
        }
        When::IsNot(argument, values) => {
            let mut code = vec![load_argument(argument)];
            for (at, value) in values.iter().enumerate() {
                let jump = u8::try_from(values.len() - at).expect("value lists are short");
                code.push(branch(IF_EQUAL, *value, jump, 0));
            }
            code.push(hit);
            code
        }
        When::AnyBit(argument, mask) => {
            vec![load_argument(argument), branch(IF_BITS, mask, 0, 1), hit]
        }
        When::Positive(argument) => vec![
            load_argument(argument),
            branch(IF_BITS, 1 << 31, 2, 0),
            branch(IF_EQUAL, 0, 1, 0),
            hit,
        ],
        When::MaskedGiven { argument, mask, values, given } => {
            let mut code = vec![load_argument(argument), statement(AND, mask)];
            for (at, value) in values.iter().enumerate() {
                let left = u8::try_from(values.len() - at - 1).expect("value lists are short");
                code.push(branch(IF_EQUAL, *value, left, if left == 0 { 3 } else { 0 }));
            }
            code.extend([load_argument(given), branch(IF_EQUAL, 0, 1, 0), hit]);
            code
        }
        When::Masked(argument, mask, value) => {
            vec![load_argument(argument), statement(AND, mask), branch(IF_EQUAL, value, 0, 1), hit]
        }
    }
}

/// Builds the program. Calls of another architecture go to the monitor, which ends the step.
pub(crate) fn assemble(rules: &[Rule]) -> Vec<Instruction> {
    let mut calls: BTreeMap<u32, Vec<Instruction>> = BTreeMap::new();
    for rule in rules {
        calls.entry(rule.nr).or_default().extend(body(rule));
    }
    let calls: Vec<_> = calls.into_iter().collect();
    let mut program = vec![
        statement(LOAD, OFFSET_ARCH),
        branch(IF_EQUAL, ARCH, 1, 0),
        returns(Action::Notify),
        statement(LOAD, OFFSET_NR),
        branch(IF_AT_LEAST, X32_BIT, 1, 0),
        branch(IF_AT_LEAST, FIRST_UNKNOWN, 0, 1),
        returns(Action::Errno(libc::ENOSYS)),
    ];
    search(&calls, &mut program);
    program
}

fn search(calls: &[(u32, Vec<Instruction>)], program: &mut Vec<Instruction>) {
    if calls.len() <= 3 {
        for (nr, code) in calls {
            let skip = u8::try_from(code.len() + 1).expect("the rules of one call are few");
            program.push(branch(IF_EQUAL, *nr, 0, skip));
            program.extend_from_slice(code);
            program.push(returns(Action::Allow));
        }
        program.push(returns(Action::Allow));
        return;
    }
    let (low, high) = calls.split_at(calls.len() / 2);
    let mut below = Vec::new();
    search(low, &mut below);
    program.push(branch(IF_AT_LEAST, high[0].0, 0, 1));
    program.push(statement(JUMP, u32::try_from(below.len()).expect("a filter is short")));
    program.append(&mut below);
    search(high, program);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would, on the instructions that the assembler emits.
    fn run(program: &[Instruction], nr: u32, arch: u32, args: [u32; 6]) -> u32 {
        let (mut at, mut acc) = (0, 0);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let mut jump = |yes: bool| at += usize::from(if yes { jt } else { jf });
            match code {
                LOAD if k == OFFSET_NR => acc = nr,
                LOAD if k == OFFSET_ARCH => acc = arch,
                LOAD => acc = args[(k as usize - 16) / 8],
                AND => acc &= k,
                RETURN => return k,
                JUMP => at += k as usize,
                IF_EQUAL => jump(acc == k),
                IF_AT_LEAST => jump(acc >= k),
                IF_BITS => jump(acc & k != 0),
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn every_condition_on_every_call() {
        let whens = [
            (When::Always, [true, true, true, true]),
            (When::Is(1, &[2, 6]), [false, true, false, true]),
            (When::IsNot(1, &[2, 6]), [true, false, true, false]),
            (When::AnyBit(1, 4), [false, false, true, true]),
            (When::Masked(1, 3, 2), [false, true, false, true]),
            (When::Positive(1), [false, true, true, true]),
            (When::Positive(2), [false; 4]),
            (
                When::MaskedGiven { argument: 1, mask: 3, values: &[1, 2], given: 3 },
                [false, true, false, true],
            ),
            (When::MaskedGiven { argument: 1, mask: 3, values: &[2], given: 4 }, [false; 4]),
        ];
        let rules: Vec<Rule> = (0..72)
            .flat_map(|nr| {
                let (when, _) = whens[nr as usize % whens.len()];
                let action = Action::Errno(7);
                [
                    Rule { nr: nr * 3, when, action },
                    Rule { nr: nr * 3, when, action: Action::Notify },
                ]
            })
            .collect();
        let program = assemble(&rules);
        let allow = libc::SECCOMP_RET_ALLOW;
        for nr in 0..230 {
            for (at, value) in [0, 2, 4, 6].into_iter().enumerate() {
                let hit = nr % 3 == 0 && nr < 216 && whens[nr as usize / 3 % whens.len()].1[at];
                let expected = if hit { libc::SECCOMP_RET_ERRNO | 7 } else { allow };
                let got = run(&program, nr, ARCH, [9, value, 1 << 31, 9, 0, 9]);
                assert_eq!(got, expected, "call {nr}, argument {value}");
            }
        }
    }

    #[test]
    fn foreign_x32_and_future_calls() {
        let program = assemble(&[]);
        assert_eq!(run(&program, 1, 0x4000_0003, [0; 6]), libc::SECCOMP_RET_USER_NOTIF);
        let nosys = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
        assert_eq!(run(&program, X32_BIT | 1, ARCH, [0; 6]), nosys);
        assert_eq!(run(&program, FIRST_UNKNOWN, ARCH, [0; 6]), nosys);
        assert_eq!(run(&program, 1, ARCH, [0; 6]), libc::SECCOMP_RET_ALLOW);
    }
}
