//! Where in the code of a function probes are put: at which instruction near its start, and
//! at which it returns.
//!
//! A probe in the middle of an instruction would break the program that is observed, so
//! nothing is concluded from what cannot be decoded.

use std::collections::BTreeSet;

use iced_x86::{
    Code as Opcode, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory,
    OpAccess, OpKind, Register,
};

/// Instructions at the start of a function that are looked at.
const ENTRY_MAX: usize = 8;

/// The code of a function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Code<'data> {
    pub(super) bytes: &'data [u8],
    /// Where it is loaded.
    pub(super) address: u64,
    /// The bytes are all of it, and nothing else.
    pub(super) whole: bool,
}

impl Code<'_> {
    pub(super) fn decoder(&self) -> Decoder<'_> {
        Decoder::with_ip(64, self.bytes, self.address, DecoderOptions::NONE)
    }

    pub(super) fn contains(&self, address: u64) -> bool {
        // An address that a stranger chose may be at the end of all.
        address.wrapping_sub(self.address) < self.bytes.len() as u64
    }
}

/// Where a jump leads, if that is in the instruction.
fn target(instruction: &Instruction) -> Option<u64> {
    (instruction.op0_kind() == OpKind::NearBranch64).then(|| instruction.near_branch64())
}

/// Offset in a function at which its arguments are where they were passed, and its return
/// address on top of the stack, however it is called: where its start and its return are
/// probed. `None` when there is none that does no harm.
///
/// It is the first instruction that the kernel emulates, if there is one: the others are
/// executed out of line with a second trap (`arch_uprobe_analyze_insn`,
/// arch/x86/kernel/uprobes.c). A five-byte `nop` is never chosen: kernels from 6.18 on put a
/// call in its place, which writes below the stack pointer.
pub(super) fn entry(code: Code<'_>) -> Option<u64> {
    if cfg!(not(target_arch = "x86_64")) {
        return Some(0);
    }
    let usual = code.decoder().iter().next().filter(|first| !is_nop5(first)).map(|_| 0);
    let Some(targets) = targets(code) else { return usual };
    let mut found = usual;
    let mut factory = InstructionInfoFactory::new();
    for instruction in code.decoder().iter().take(ENTRY_MAX) {
        let at = instruction.ip().wrapping_sub(code.address);
        if at != 0 && targets.contains(&instruction.ip()) {
            break;
        }
        if is_emulated(&instruction) {
            return Some(at);
        }
        if !is_nop5(&instruction) {
            found = found.or(Some(at));
        }
        if !leaves_all_in_place(&mut factory, &instruction) {
            break;
        }
    }
    found
}

/// Addresses in a function that it jumps to. `None` when that is not known.
fn targets(code: Code<'_>) -> Option<BTreeSet<u64>> {
    let mut targets = BTreeSet::new();
    let known = code.whole
        && code.decoder().iter().all(|instruction| {
            targets.extend(target(&instruction));
            // Where a jump through a register or a table leads is not known.
            !instruction.is_invalid()
                && (instruction.flow_control() != FlowControl::IndirectBranch
                    || is_jump_through_memory(&instruction))
        });
    known.then_some(targets)
}

/// A jump through a pointer in an object leaves a function; that of a `switch` is through a
/// register, or a table that is at no register.
fn is_jump_through_memory(instruction: &Instruction) -> bool {
    instruction.op0_kind() == OpKind::Memory
        && instruction.memory_base() != Register::None
        && instruction.memory_index() == Register::None
}

/// `nopl 0(rax, rax, 1)` and whatever else does nothing in five bytes.
fn is_nop5(instruction: &Instruction) -> bool {
    let nop = matches!(
        instruction.code(),
        Opcode::Nopw | Opcode::Nopd | Opcode::Nopq | Opcode::Nop_rm16 | Opcode::Nop_rm32
    );
    (nop || instruction.code() == Opcode::Nop_rm64) && instruction.len() == 5
}

/// Whether every kernel emulates an instruction: `branch_setup_xol_ops` and
/// `push_setup_xol_ops`. A call is left out, which kernels before 6.18 emulate without
/// telling the shadow stack; so are prefixes, for which some refuse the probe.
fn is_emulated(instruction: &Instruction) -> bool {
    let len = instruction.len();
    match instruction.flow_control() {
        FlowControl::UnconditionalBranch => target(instruction).is_some() && matches!(len, 2 | 5),
        // Not `loop` and `jrcxz`.
        FlowControl::ConditionalBranch => {
            instruction.is_jcc_short_or_near() && matches!(len, 2 | 6)
        }
        FlowControl::Next => match instruction.code() {
            Opcode::Nopd => len == 1,
            Opcode::Push_r64 => match instruction.op0_register() {
                Register::RAX
                | Register::RCX
                | Register::RDX
                | Register::RBX
                | Register::RSP
                | Register::RBP
                | Register::RSI
                | Register::RDI => len == 1,
                _ => len == 2,
            },
            _ => false,
        },
        _ => false,
    }
}

/// Whether all arguments and the stack are after an instruction where they were before, and
/// the next one is executed after it.
fn leaves_all_in_place(factory: &mut InstructionInfoFactory, instruction: &Instruction) -> bool {
    let writes = |access| {
        !matches!(
            access,
            OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
        )
    };
    let info = factory.info(instruction);
    let keeps = |register: Register| {
        !matches!(
            register.full_register(),
            Register::RDI
                | Register::RSI
                | Register::RDX
                | Register::RCX
                | Register::R8
                | Register::R9
                | Register::RSP
        )
    };
    !instruction.is_invalid()
        && instruction.flow_control() == FlowControl::Next
        && info.used_registers().iter().all(|it| keeps(it.register()) || !writes(it.access()))
        && info.used_memory().iter().all(|it| !writes(it.access()))
}

/// Offsets of the instructions by which a function of C returns. `None` when it cannot be
/// decoded to its end, or leaves otherwise.
pub(super) fn returns(code: Code<'_>) -> Option<Vec<u64>> {
    if cfg!(not(target_arch = "x86_64")) || !code.whole {
        return None;
    }
    // One through a register may be that of a `switch`, or leave.
    returns_where(code, |it| it.flow_control() != FlowControl::IndirectBranch)
}

/// Offsets of the instructions by which a function returns. `None` when it cannot be decoded
/// to its end, has an instruction that is not accepted, leaves by a jump, or does not return.
pub(super) fn returns_where(
    code: Code<'_>,
    mut accept: impl FnMut(&Instruction) -> bool,
) -> Option<Vec<u64>> {
    let mut decoder = code.decoder();
    let mut instruction = Instruction::default();
    let mut returns = Vec::new();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() || !accept(&instruction) {
            return None;
        }
        match instruction.flow_control() {
            FlowControl::Return => returns.push(instruction.ip().wrapping_sub(code.address)),
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch
                if target(&instruction).is_some_and(|target| !code.contains(target)) =>
            {
                return None;
            }
            _ => {}
        }
    }
    (!returns.is_empty()).then_some(returns)
}

#[cfg(all(test, target_arch = "x86_64"))]
#[path = "code_tests.rs"]
mod tests;
