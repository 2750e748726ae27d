/* A Windows DLL whose functions have frames of known sizes, for stacks that a test builds.
 *
 * Each function has 4 bytes of prologue and, except the innermost, a call of 5 bytes. The return
 * addresses follow from these sizes. The assembler makes the unwind information from the .seh
 * directives.
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
