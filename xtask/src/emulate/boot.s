# The boot sector. Bochs has put the kernel and what it is told into memory, so that nothing has to be read from a disk: what is left
# is to switch to 32 bits and to enter the kernel as its PVH entry wants it (Xen, docs/misc/pvh.pandoc): flat segments, no paging,
# and in EBX the address of the start information. ENTRY and START_INFORMATION are given to the assembler.

        .code16
        .globl  _start
_start: cli
        xorw    %ax, %ax
        movw    %ax, %ds

        # Address line 20 on, without a reset (bit 0).
        inb     $0x92, %al
        orb     $0x02, %al
        andb    $0xfe, %al
        outb    %al, $0x92

        lgdtl   descriptor_table
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmpl   $(code - descriptors), $protected

        .code32
protected:
        movw    $(data - descriptors), %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $0x7000, %esp
        movl    $START_INFORMATION, %ebx
        movl    $ENTRY, %ecx
        jmp     *%ecx

        # Segments from 0 to 4 GiB.
        .align  8
descriptors:
        .quad   0
code:   .quad   0x00cf9b000000ffff
data:   .quad   0x00cf93000000ffff
end:

descriptor_table:
        .word   end - descriptors - 1
        .long   descriptors

        .org    510
        .word   0xaa55
