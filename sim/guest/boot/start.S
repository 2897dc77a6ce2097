/*
 * start.S: from wherever a vCPU begins to C in long mode: a disk's boot sector, the reset vector of `-bios`, and the
 * start-up interrupt of the other vCPUs. Memory is mapped as it is, 4 GiB in pages of 2 MiB; no interrupt is ever on.
 */
#define IMAGE_BASE    0x10000
#define IMAGE_SEGMENT 0x1000
#define ROM_BASE      0xffff0000 /* the last 64 KiB below 4 GiB */
#define SECTOR_BASE   0x7c00     /* where a BIOS puts the boot sector */
#define PIECES        8          /* in which the image is read, ... */
#define PIECE_SECTORS 16         /* ... each of so many sectors of 512 bytes */
#define TABLES        0x1000     /* of pages: six pages of memory */
#define STACK_SIZE    4096

#define CODE32 0x08
#define DATA   0x10
#define CODE64 0x18

/* ---- The boot sector of a disk: reads the whole image to where it runs ---- */

	.section .boot_sector, "ax"
	.code16
	.globl image
image:
	cli
	cld
	xorw %ax, %ax
	movw %ax, %ds
	movw %ax, %ss
	movw $SECTOR_BASE, %sp
	ljmp $0, $(1f - image + SECTOR_BASE)
1:	sti
	movw $PIECES, %cx
2:	pushw %cx
	pushw %dx
	movb $0x42, %ah
	movw $(packet - image + SECTOR_BASE), %si
	int $0x13
	popw %dx
	popw %cx
	jc 3f
	addw $(PIECE_SECTORS * 512 / 16), packet - image + SECTOR_BASE + 6
	addw $PIECE_SECTORS, packet - image + SECTOR_BASE + 8
	loop 2b
	ljmp $IMAGE_SEGMENT, $(from_memory - IMAGE_BASE)
3:	cli
	hlt
	jmp 3b

	.balign 4
packet:	.byte 16, 0
	.word PIECE_SECTORS
	.word 0, IMAGE_SEGMENT
	.quad 0

	.org 510
	.byte 0x55, 0xaa

/* ---- Real mode ---- */

	.section .entry, "ax"

/* At offset 0x1000, which a start-up interrupt can name. */
other_start:
	ljmp $IMAGE_SEGMENT, $(1f - IMAGE_BASE)
1:	cli
	cld
	movl $1, %ebp
	jmp to_protected

from_memory:
	cli
	xorl %ebp, %ebp
to_protected:
	lgdtl %cs:(table_pointer - IMAGE_BASE)
	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	ljmpl $CODE32, $protected

/* The other part of the reset vector, still in the ROM. */
from_reset:
	cli
	cld
	lgdtl %cs:(rom_table_pointer - IMAGE_BASE)
	movl %cr0, %eax
	orb $1, %al
	movl %eax, %cr0
	ljmpl $CODE32, $(from_rom - IMAGE_BASE + ROM_BASE)

	.balign 8
/* Marked as accessed, so that no vCPU has to. */
segments:
	.quad 0
	.quad 0x00cf9b000000ffff
	.quad 0x00cf93000000ffff
	.quad 0x00af9b000000ffff
table_pointer:
	.word table_pointer - segments - 1
	.long segments
rom_table_pointer:
	.word table_pointer - segments - 1
	.long segments - IMAGE_BASE + ROM_BASE

/* ---- Protected mode ---- */

	.code32
from_rom:
	movw $DATA, %ax
	movw %ax, %ds
	movw %ax, %es
	movl $ROM_BASE, %esi
	movl $IMAGE_BASE, %edi
	movl $(0x10000 / 4), %ecx
	rep movsl
	xorl %ebp, %ebp
	movl $protected, %eax
	jmp *%eax

/* %ebp: 1 for one of the other vCPUs, which finds the tables made. */
protected:
	movw $DATA, %ax
	movw %ax, %ds
	movw %ax, %es
	movw %ax, %ss
	testl %ebp, %ebp
	jnz to_long
	inb $0x92, %al
	orb $2, %al
	andb $0xfe, %al
	outb %al, $0x92
	movl $TABLES, %edi
	xorl %eax, %eax
	movl $(2 * 4096 / 4), %ecx
	rep stosl
	movl $(TABLES + 0x1000 + 3), TABLES
	movl $(TABLES + 0x2000 + 3), TABLES + 0x1000
	movl $(TABLES + 0x3000 + 3), TABLES + 0x1008
	movl $(TABLES + 0x4000 + 3), TABLES + 0x1010
	movl $(TABLES + 0x5000 + 3), TABLES + 0x1018
	movl $0x83, %eax
	movl $2048, %ecx
1:	movl %eax, (%edi)
	movl $0, 4(%edi)
	addl $8, %edi
	addl $0x200000, %eax
	loop 1b

to_long:
	movl $TABLES, %eax
	movl %eax, %cr3
	movl %cr4, %eax
	orl $0x20, %eax
	movl %eax, %cr4
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x100, %eax
	wrmsr
	movl %cr0, %eax
	andl $0x9fffffff, %eax
	orl $0x80000000, %eax
	movl %eax, %cr0
	ljmpl $CODE64, $long_mode

/* ---- Long mode ---- */

	.code64
long_mode:
	xorl %eax, %eax
	testl %ebp, %ebp
	jnz 1f
	movl $bss_start, %edi
	movl $bss_end, %ecx
	subl %edi, %ecx
	rep stosb
	movl $(stacks + STACK_SIZE), %esp
	call guest_main
	ud2

/* The others take numbers as they come. */
1:	movl $1, %eax
	lock xaddl %eax, guest_others
	incl %eax
	movl %eax, %edi
	cmpl guest_vcpus, %eax
	jae 2f
	incl %eax
	imull $STACK_SIZE, %eax, %eax
	leal stacks(%eax), %esp
	call guest_other
	ud2
2:	cli
	hlt
	jmp 2b

/* ---- The last 16 bytes of the ROM, where the machine begins ---- */

	.section .reset_vector, "ax"
	.code16
	.byte 0xe9
	.word from_reset - IMAGE_BASE + 0x10000 - 0xfff3
	.org 16

	.section .bss
	.balign 4096
stacks:	.skip 16 * STACK_SIZE

	.section .note.GNU-stack, "", @progbits
