use super::*;

const ENDBR64: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
const NOP5: &[u8] = &[0x0f, 0x1f, 0x44, 0, 0];
const NOP4: &[u8] = &[0x0f, 0x1f, 0x40, 0];
const NOP: &[u8] = &[0x90];
const NOP2: &[u8] = &[0x66, 0x90];
const PUSH_RBX: &[u8] = &[0x53];
const PUSH_R12: &[u8] = &[0x41, 0x54];
/// `push rbx` with a prefix that says nothing.
const REX_PUSH_RBX: &[u8] = &[0x48, 0x53];
const PUSH_MEMORY: &[u8] = &[0xff, 0x37];
const SUB_RSP: &[u8] = &[0x48, 0x83, 0xec, 0x18];
const TEST_EDX: &[u8] = &[0x85, 0xd2];
const XOR_ECX: &[u8] = &[0x31, 0xc9];
const XOR_EAX: &[u8] = &[0x31, 0xc0];
const MOV_R8_RCX: &[u8] = &[0x49, 0x89, 0xc8];
const LOAD_RAX: &[u8] = &[0x48, 0x8b, 0x07];
const STORE: &[u8] = &[0x48, 0x89, 0x07];
/// Over the `ret` that follows.
const JS: &[u8] = &[0x78, 0x01];
const RET: &[u8] = &[0xc3];
const CALL: &[u8] = &[0xe8, 0, 0, 0, 0];
const JUMP_REGISTER: &[u8] = &[0xff, 0xe0];
const JUMP_OBJECT: &[u8] = &[0xff, 0x60, 0x10];
const JUMP_TABLE: &[u8] = &[0xff, 0x24, 0xc5, 0, 0, 0, 0];
const LOOP: &[u8] = &[0xe2, 0x01];

fn chosen(parts: &[&[u8]]) -> Option<u64> {
    entry(Code { bytes: &parts.concat(), address: 0x1000, whole: true })
}

#[test]
fn the_first_instruction_that_is_emulated_is_chosen() {
    for (parts, at) in [
        (&[PUSH_RBX, RET][..], 0),
        (&[ENDBR64, PUSH_RBX, RET], 4),
        (&[ENDBR64, PUSH_R12, RET], 4),
        (&[ENDBR64, NOP, RET], 4),
        (&[ENDBR64, TEST_EDX, JS, RET, RET], 6),
        (&[ENDBR64, LOAD_RAX, XOR_EAX, PUSH_RBX, RET], 9),
        (&[TEST_EDX, JS, RET, RET], 2),
        (&[NOP4, ENDBR64, PUSH_RBX, RET], 8),
    ] {
        assert_eq!(chosen(parts), Some(at), "{parts:x?}");
    }
}

#[test]
fn nothing_is_chosen_behind_what_moves_an_argument_or_the_stack() {
    for change in
        [SUB_RSP, XOR_ECX, STORE, CALL, RET, PUSH_MEMORY, JUMP_REGISTER, JUMP_OBJECT, LOOP]
    {
        assert_eq!(chosen(&[ENDBR64, change, PUSH_RBX, RET, RET]), Some(0), "{change:x?}");
    }
    // `SSL_write_ex` of OpenSSL 3.3: its last argument is moved before the jump.
    assert_eq!(chosen(&[ENDBR64, MOV_R8_RCX, XOR_ECX, &[0xeb, 0]]), Some(0));
}

#[test]
fn instructions_that_some_kernels_do_not_emulate_are_not_chosen() {
    for other in [NOP2, REX_PUSH_RBX, CALL, LOOP] {
        assert_eq!(chosen(&[ENDBR64, other, RET, RET]), Some(0), "{other:x?}");
    }
}

#[test]
fn what_is_jumped_to_is_not_chosen() {
    // Back to the `push`.
    assert_eq!(chosen(&[ENDBR64, PUSH_RBX, &[0xeb, 0xfd]]), Some(0));
    // Back to the start, which is the start again.
    assert_eq!(chosen(&[ENDBR64, PUSH_RBX, &[0xeb, 0xf9]]), Some(4));
    for unknown in [JUMP_REGISTER, JUMP_TABLE] {
        assert_eq!(chosen(&[ENDBR64, PUSH_RBX, unknown]), Some(0), "{unknown:x?}");
    }
    assert_eq!(chosen(&[ENDBR64, PUSH_RBX, JUMP_OBJECT]), Some(4), "it leaves the function");
}

#[test]
fn a_five_byte_nop_is_never_chosen() {
    assert_eq!(chosen(&[NOP5, PUSH_RBX, RET]), Some(5));
    assert_eq!(chosen(&[NOP5, SUB_RSP, RET]), Some(5));
    assert_eq!(chosen(&[NOP5, NOP5, ENDBR64, SUB_RSP, RET]), Some(10));
    assert_eq!(chosen(&[ENDBR64, NOP5, SUB_RSP, RET]), Some(0));
    assert_eq!(chosen(&[NOP5, JUMP_REGISTER]), None, "where it leads is not known");
    assert_eq!(chosen(&[NOP5]), None);
    assert_eq!(chosen(&[NOP5, SUB_RSP, &[0xeb, 0xfa]]), None, "it is jumped to");
    let start = |bytes| entry(Code { bytes, address: 0, whole: false });
    assert_eq!(start(NOP5), None);
    assert_eq!(start(SUB_RSP), Some(0));
    assert_eq!(start(&[]), None);
}

#[test]
fn code_that_cannot_be_decoded_has_its_probe_at_the_start() {
    let bad: &[u8] = &[0x06];
    assert_eq!(chosen(&[ENDBR64, PUSH_RBX, bad]), Some(0));
    let cut = [ENDBR64, PUSH_RBX].concat();
    assert_eq!(entry(Code { bytes: &cut, address: 0, whole: false }), Some(0));
}

#[test]
fn a_function_of_c_shows_its_returns_unless_it_leaves_otherwise() {
    let returned =
        |parts: &[&[u8]]| returns(Code { bytes: &parts.concat(), address: 0x1000, whole: true });
    assert_eq!(returned(&[TEST_EDX, JS, RET, RET]), Some(vec![4, 5]));
    assert_eq!(returned(&[SUB_RSP, CALL, RET]), Some(vec![9]));
    for leaves in [JUMP_REGISTER, JUMP_OBJECT, JUMP_TABLE, &[0xe9, 0, 1, 0, 0][..]] {
        assert_eq!(returned(&[RET, leaves]), None, "{leaves:x?}");
    }
    assert_eq!(returned(&[PUSH_RBX]), None);
    assert_eq!(returns(Code { bytes: RET, address: 0, whole: false }), None);
}

#[test]
fn any_bytes_can_be_looked_at() {
    // All of one byte, and of each opcode with each second byte.
    for word in 0..=u16::MAX {
        let [a, b] = word.to_le_bytes();
        let bytes = [a, b, 0x53, 0x90, b, a, 0xc3, a];
        for len in 0..=bytes.len() {
            let code = Code { bytes: &bytes[..len], address: u64::MAX - 3, whole: len % 2 == 0 };
            let at = entry(code);
            assert!(at.is_none_or(|at| at < len as u64));
            returns(code);
        }
    }
}
