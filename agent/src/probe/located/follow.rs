//! What a function does, as far as that is plain from its instructions: which constants and
//! which of its arguments it hands to those that it calls.
//!
//! Every instruction is looked at once, in the order of addresses; what is known at a jump is
//! known where it leads, unless that was passed already. What is not plain is unknown, and
//! unknown proves nothing.

use std::collections::BTreeMap;

use iced_x86::{
    Code as Opcode, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register,
};

use crate::probe::code::Code;

/// What is known of a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Value {
    #[default]
    Unknown,
    /// A number or an address.
    Number(u64),
    /// What the function was given as its argument of this index.
    Argument(u8),
    /// A place in its frame on the stack.
    Stack,
}

/// Registers of arguments, in their order (System V ABI for x86-64, section 3.2.3).
const ARGUMENTS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];

/// What a call leaves as it was.
const KEPT: [Register; 6] =
    [Register::RBX, Register::RBP, Register::R12, Register::R13, Register::R14, Register::R15];

/// What is known of all registers, by their number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Values([Value; 16]);

impl Values {
    fn at_start() -> Self {
        let mut values = Self([Value::Unknown; 16]);
        for (register, index) in ARGUMENTS.into_iter().zip(0..) {
            values.set(register, Value::Argument(index));
        }
        values.set(Register::RSP, Value::Stack);
        values
    }

    fn unknown() -> Self {
        let mut values = Self([Value::Unknown; 16]);
        values.set(Register::RSP, Value::Stack);
        values
    }

    fn get(&self, register: Register) -> Value {
        if !register.is_gpr() {
            return Value::Unknown;
        }
        self.0.get(register.full_register().number()).copied().unwrap_or_default()
    }

    fn set(&mut self, register: Register, value: Value) {
        if register.is_gpr()
            && let Some(slot) = self.0.get_mut(register.full_register().number())
        {
            *slot = value;
        }
    }

    /// What is known either way.
    fn meet(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            if *own != other {
                *own = Value::Unknown;
            }
        }
    }

    /// Another function has run.
    fn returned(&mut self) {
        let before = *self;
        *self = Self::unknown();
        for register in KEPT {
            self.set(register, before.get(register));
        }
    }
}

/// A call of another function, or a jump to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    /// Where it leads, if that is in the instruction.
    pub(super) target: Option<u64>,
    /// What it is given.
    pub(super) arguments: [Value; 6],
}

/// What a function does.
#[derive(Clone, Debug, Default)]
pub(super) struct Function {
    pub(super) calls: Vec<Call>,
    /// Numbers that it names as such.
    pub(super) numbers: Vec<u64>,
    /// Before it calls anything it asks whether its third argument is negative.
    pub(super) checks_length: bool,
    /// Before it calls anything it takes one away from a count in the object that its first
    /// argument points to.
    pub(super) drops_reference: bool,
}

/// Looks at a function. `None` when it cannot be decoded to its end.
pub(super) fn follow(code: Code<'_>) -> Option<Function> {
    let mut function = Function::default();
    let mut factory = InstructionInfoFactory::new();
    // What is known where jumps lead that were met already.
    let mut ahead = BTreeMap::<u64, Values>::new();
    let mut values = Some(Values::at_start());
    let mut asked = Value::Unknown;
    for instruction in &mut code.decoder() {
        if instruction.is_invalid() {
            return None;
        }
        let mut now = match (values, ahead.remove(&instruction.ip())) {
            (Some(mut here), Some(there)) => {
                here.meet(&there);
                here
            }
            (Some(known), None) | (None, Some(known)) => known,
            (None, None) => Values::unknown(),
        };
        if function.calls.is_empty() {
            function.checks_length |= asked == Value::Argument(2) && asks_sign(&instruction);
            function.drops_reference |= drops_reference(&instruction, &now);
        }
        asked = match instruction.mnemonic() {
            Mnemonic::Test if instruction.op0_register() == instruction.op1_register() => {
                now.get(instruction.op0_register())
            }
            _ if instruction.rflags_modified() == 0 => asked,
            _ => Value::Unknown,
        };
        let target =
            (instruction.op0_kind() == OpKind::NearBranch64).then(|| instruction.near_branch64());
        let within = target.filter(|target| code.contains(*target));
        let call = Call { target, arguments: ARGUMENTS.map(|register| now.get(register)) };
        values = match instruction.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => {
                function.calls.push(call);
                now.returned();
                Some(now)
            }
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                match within {
                    Some(target) if target > instruction.ip() => {
                        ahead.entry(target).and_modify(|there| there.meet(&now)).or_insert(now);
                    }
                    Some(_) => {}
                    None => function.calls.push(call),
                }
                (instruction.flow_control() == FlowControl::ConditionalBranch).then_some(now)
            }
            FlowControl::Next => {
                step(&mut factory, &instruction, &mut now, &mut function.numbers);
                Some(now)
            }
            FlowControl::IndirectBranch => {
                function.calls.push(call);
                None
            }
            _ => None,
        };
    }
    Some(function)
}

/// Whether an instruction jumps by the sign of what was tested.
fn asks_sign(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), Mnemonic::Js | Mnemonic::Jns)
}

/// `lock xadd [object+n], minus one`, or `lock sub` or `dec`.
fn drops_reference(instruction: &Instruction, values: &Values) -> bool {
    let by = match instruction.mnemonic() {
        Mnemonic::Xadd => values.get(instruction.op1_register()) == Value::Number(0xffff_ffff),
        Mnemonic::Dec => true,
        Mnemonic::Sub => instruction.try_immediate(1).is_ok_and(|by| by == 1),
        _ => false,
    };
    by && instruction.has_lock_prefix()
        && values.get(instruction.memory_base()) == Value::Argument(0)
}

/// What an instruction leaves in registers that does not jump.
fn step(
    factory: &mut InstructionInfoFactory,
    instruction: &Instruction,
    values: &mut Values,
    numbers: &mut Vec<u64>,
) {
    let (to, from) = (instruction.op0_register(), instruction.op1_register());
    let value = match instruction.code() {
        Opcode::Lea_r64_m if instruction.is_ip_rel_memory_operand() => {
            Some(Value::Number(instruction.ip_rel_memory_address()))
        }
        Opcode::Lea_r64_m
            if values.get(instruction.memory_base()) == Value::Stack
                && instruction.memory_index() == Register::None =>
        {
            Some(Value::Stack)
        }
        Opcode::Mov_r32_imm32 | Opcode::Mov_r64_imm64 | Opcode::Mov_rm64_imm32
            if to != Register::None =>
        {
            Some(Value::Number(instruction.immediate(1)))
        }
        Opcode::Mov_rm32_imm32 if to != Register::None => {
            Some(Value::Number(instruction.immediate(1) & 0xffff_ffff))
        }
        Opcode::Xor_r32_rm32
        | Opcode::Xor_rm32_r32
        | Opcode::Xor_r64_rm64
        | Opcode::Xor_rm64_r64
            if to == from && to != Register::None =>
        {
            Some(Value::Number(0))
        }
        Opcode::Mov_r64_rm64 | Opcode::Mov_rm64_r64 if is_gpr(to) && is_gpr(from) => {
            Some(values.get(from))
        }
        // Of a number or an argument that is given on as 32 bits, or as these made longer.
        Opcode::Mov_r32_rm32 | Opcode::Mov_rm32_r32 | Opcode::Movsxd_r64_rm32
            if is_gpr(to) && is_gpr(from) =>
        {
            Some(match values.get(from) {
                Value::Stack => Value::Unknown,
                other => other,
            })
        }
        _ => None,
    };
    if let Some(value) = value {
        if let Value::Number(number) = value {
            numbers.push(number);
        }
        if to != Register::RSP {
            values.set(to, value);
        }
        return;
    }
    for used in factory.info(instruction).used_registers() {
        let reads = matches!(
            used.access(),
            OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess
        );
        if !reads && used.register().full_register() != Register::RSP {
            values.set(used.register(), Value::Unknown);
        }
    }
}

fn is_gpr(register: Register) -> bool {
    register.is_gpr64() || register.is_gpr32()
}
