/* A Windows DLL whose functions have frames of known sizes, for stacks that a test makes up.
 *
 * Each function is 4 bytes of prologue and, but the innermost, 5 bytes of call: so far into it are the places that return
 * addresses lead to. The unwind information is what the assembler makes of the .seh directives.
 */
__asm__(
    ".text\n"
    ".globl outermost, middle, innermost\n"
    ".seh_proc outermost\n"
    "outermost: subq $0x28, %rsp\n"
    ".seh_stackalloc 0x28\n"
    ".seh_endprologue\n"
    "call middle\n"
    "addq $0x28, %rsp\n"
    "ret\n"
    ".seh_endproc\n"
    ".seh_proc middle\n"
    "middle: subq $0x48, %rsp\n"
    ".seh_stackalloc 0x48\n"
    ".seh_endprologue\n"
    "call innermost\n"
    "addq $0x48, %rsp\n"
    "ret\n"
    ".seh_endproc\n"
    ".seh_proc innermost\n"
    "innermost: subq $0x18, %rsp\n"
    ".seh_stackalloc 0x18\n"
    ".seh_endprologue\n"
    "hlt\n"
    "addq $0x18, %rsp\n"
    "ret\n"
    ".seh_endproc\n"
    ".section .drectve\n"
    ".ascii \" -export:outermost -export:middle -export:innermost\"\n");
