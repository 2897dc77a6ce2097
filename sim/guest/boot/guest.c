/*
 * guest.c: the test guest: fills its region with version 0 of each page, starts the other vCPUs, and then touches pages
 * by the patterns of the simulator. Freestanding: nothing is there but the machine.
 *
 * A page's next version is made beside it and copied from its first byte to its last, under the page's lock: wherever
 * the guest is stopped, the page is the start of one version and the rest of the one before it.
 */
#include "sim/guest/parameters.h"

#include <stdbool.h>
#include <stddef.h>

enum {
	PAGE = MR_GUEST_PAGE_SIZE,
	ENTRY_PAGE = (MR_GUEST_IMAGE_BASE + 0x1000) >> 12, /* where the others begin, for the start-up interrupt */
	HEARTBEAT_SPINS = 256,
	INIT_SPINS = 200000,
	STARTUP_SPINS = 20000,
};

/* The local APIC, as it stands after a reset. */
#define APIC_BASE            ((uintptr_t)0xfee00000)
#define APIC_SPURIOUS        0xf0
#define APIC_COMMAND         0x300
#define APIC_ENABLED         0x1ff
#define APIC_INIT_OTHERS     0xc4500u
#define APIC_START_UP_OTHERS 0xc4600u

/* QEMU's configuration device: a number is selected, its bytes are read. */
#define CONFIG_SELECT 0x510
#define CONFIG_DATA   0x511
#define CONFIG_VCPUS  5

void *memcpy(void *to, const void *from, size_t length);
void *memset(void *to, int value, size_t length);
void guest_main(void);
void guest_other(uint32_t index);

/* The host writes its own over it in the image, so nothing of it may be known to the compiler. */
__attribute__((section(".parameters"), used)) static const volatile struct mr_guest_parameters image_parameters = {
	.magic = MR_GUEST_PARAMETERS_MAGIC,
	.layout = MR_GUEST_LAYOUT,
	.size = sizeof(struct mr_guest_parameters),
	.seed = 1,
	.region_base = MR_GUEST_REGION_LOWEST,
	.region_pages = 2048,
	.shares = {200, 100, 300, 400},
	.filled = 500,
	.vcpu = {[0 ... MR_GUEST_VCPUS_MAX - 1] =
			 {
				 .kind = MR_PATTERN_RANDOM,
				 .write_permille = 800,
				 .stride = 16,
				 .working_set = 64,
				 .phase = 4096,
				 .lag = 16,
				 .burst = 64,
				 .pause = 64,
				 .spins = 1000,
			 }},
};

/* Numbers that vCPUs took beside the first; how many of all may touch. start.S uses both. */
volatile uint32_t guest_others, guest_vcpus;

static struct mr_guest_parameters parameters;
static struct mr_content content;
static uint8_t buffers[MR_GUEST_VCPUS_MAX][PAGE];
static struct mr_pattern patterns[MR_GUEST_VCPUS_MAX];

/* ---- The machine ---- */

void *memcpy(void *to, const void *from, size_t length)
{
	void *result = to;
	size_t words = length / 8, rest = length % 8;

	__asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(rest) : : "memory");
	return result;
}

void *memset(void *to, int value, size_t length)
{
	void *result = to;
	uint64_t word = (uint8_t)value * UINT64_C(0x0101010101010101);
	size_t words = length / 8, rest = length % 8;

	__asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(word) : "memory");
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(rest) : "a"(word) : "memory");
	return result;
}

static bool are_equal(const uint8_t *a, const uint8_t *b)
{
	size_t words = PAGE / 8;
	bool equal;

	__asm__ volatile("repe cmpsq" : "+D"(a), "+S"(b), "+c"(words), "=@cce"(equal) : : "memory");
	return equal;
}

static void spin(uint64_t rounds)
{
	while (rounds-- > 0)
		__asm__ volatile("" : : : "memory");
}

static void halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

static volatile uint32_t *apic(uintptr_t offset)
{
	return (volatile uint32_t *)(APIC_BASE + offset);
}

/* The number that the vCPU has in the machine. */
static uint32_t own_apic_id(void)
{
	uint32_t a = 1, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return b >> 24;
}

static uint32_t vcpus_of_machine(void)
{
	uint8_t low, high;

	__asm__ volatile("outw %w0, %w1" : : "a"(CONFIG_VCPUS), "d"(CONFIG_SELECT));
	__asm__ volatile("inb %w1, %b0" : "=a"(low) : "d"(CONFIG_DATA));
	__asm__ volatile("inb %w1, %b0" : "=a"(high) : "d"(CONFIG_DATA));
	return (uint32_t)high << 8 | low;
}

/* ---- What is said to the host ---- */

static volatile struct mr_guest_status *status(void)
{
	return (volatile struct mr_guest_status *)(uintptr_t)MR_GUEST_STATUS_BASE;
}

/* The first error stays. */
static void report(enum mr_guest_error error, uint32_t vcpu, uint64_t page)
{
	static uint32_t reported;

	if (__atomic_exchange_n(&reported, 1, __ATOMIC_SEQ_CST))
		return;
	status()->error_vcpu = vcpu;
	status()->error_page = page;
	status()->error = error;
}

static void fail(enum mr_guest_error error, uint32_t vcpu)
{
	report(error, vcpu, 0);
	status()->state = MR_GUEST_HALTED;
	halt();
}

/* ---- Pages ---- */

static uint8_t *page_at(uint64_t page)
{
	return (uint8_t *)(uintptr_t)(parameters.region_base + page * PAGE);
}

static volatile struct mr_guest_version *version_of(uint64_t page)
{
	return (volatile struct mr_guest_version *)page_at(parameters.region_pages) + page;
}

static void make(uint32_t index, uint64_t page, uint32_t version)
{
	mr_content_fill(&content, parameters.block, page, version, buffers[index], PAGE);
}

/* What holds the right bytes is left alone, so that memory that nobody wrote to stays so. */
static void fill(void)
{
	for (uint64_t page = 0; page < parameters.region_pages; page++) {
		make(0, page, 0);
		if (!are_equal(page_at(page), buffers[0]))
			memcpy(page_at(page), buffers[0], PAGE);
		version_of(page)->version = 0;
		version_of(page)->lock = 0;
		status()->filled = page + 1;
		status()->vcpu[0].heartbeat++;
	}
}

static void touch(uint32_t index, const struct mr_touch *touch)
{
	volatile struct mr_guest_vcpu_status *own = &status()->vcpu[index];
	volatile struct mr_guest_version *version = version_of(touch->page);

	own->begun++;
	while (__atomic_exchange_n(&version->lock, 1, __ATOMIC_ACQUIRE)) {
		own->heartbeat++;
		spin(1);
	}
	make(index, touch->page, version->version + touch->write);
	if (touch->write) {
		memcpy(page_at(touch->page), buffers[index], PAGE);
		version->version++;
	} else if (!are_equal(page_at(touch->page), buffers[index])) {
		report(MR_GUEST_READ_DIFFERS, index, touch->page);
	}
	__atomic_store_n(&version->lock, 0, __ATOMIC_RELEASE);
	own->done++;
}

/* ---- vCPUs ---- */

static void wait(uint32_t index, uint64_t rounds)
{
	for (; rounds >= HEARTBEAT_SPINS; rounds -= HEARTBEAT_SPINS) {
		spin(HEARTBEAT_SPINS);
		status()->vcpu[index].heartbeat++;
	}
	spin(rounds);
	status()->vcpu[index].heartbeat++;
}

static void run(uint32_t index)
{
	const struct mr_pattern_config config = mr_guest_pattern(&parameters, index);
	const uint64_t spins = parameters.vcpu[index].spins;
	struct mr_touch next;

	status()->vcpu[index].apic_id = own_apic_id();
	mr_pattern_init(&patterns[index], &config, parameters.seed, index);
	__atomic_fetch_add(&((struct mr_guest_status *)status())->started, 1, __ATOMIC_SEQ_CST);
	while (status()->state < MR_GUEST_RUNNING)
		wait(index, HEARTBEAT_SPINS);
	while (mr_pattern_next(&patterns[index], &next)) {
		wait(index, spins * (1 + (uint64_t)next.pauses));
		touch(index, &next);
	}
	for (;;)
		wait(index, HEARTBEAT_SPINS);
}

void guest_other(uint32_t index)
{
	run(index);
}

/* One that missed the start-up interrupt gets another; those that run take no notice. */
static void start_others(uint32_t others)
{
	*apic(APIC_SPURIOUS) = APIC_ENABLED;
	*apic(APIC_COMMAND) = APIC_INIT_OTHERS;
	spin(INIT_SPINS);
	while (guest_others < others) {
		*apic(APIC_COMMAND) = APIC_START_UP_OTHERS | ENTRY_PAGE;
		spin(STARTUP_SPINS);
	}
	while (status()->started + 1 < guest_vcpus)
		spin(1);
}

/* The last entry of the table is the last that is needed, and memory has no hole before it. */
static bool is_in_memory(void)
{
	volatile struct mr_guest_version *last = version_of(parameters.region_pages - 1);

	last->version = UINT32_C(0x5aa55aa5);
	return last->version == UINT32_C(0x5aa55aa5);
}

static void take_parameters(void)
{
	const uint32_t machine = vcpus_of_machine();
	enum mr_guest_error error;
	uint32_t vcpu = 0;

	memcpy(&parameters, (const void *)&image_parameters, sizeof(parameters));
	error = mr_guest_parameters_check(&parameters, &vcpu);
	if (error)
		fail(error, vcpu);
	if (parameters.vcpus > machine)
		fail(MR_GUEST_TOO_FEW, machine);
	guest_vcpus = parameters.vcpus;
	if (guest_vcpus == 0)
		guest_vcpus = machine < MR_GUEST_VCPUS_MAX ? machine : MR_GUEST_VCPUS_MAX;
	status()->vcpus = guest_vcpus;
	if (!is_in_memory())
		fail(MR_GUEST_NO_MEMORY, 0);
	status()->table_base = (uintptr_t)version_of(0);
}

void guest_main(void)
{
	memset((void *)(uintptr_t)MR_GUEST_STATUS_BASE, 0, PAGE);
	status()->layout = MR_GUEST_LAYOUT;
	status()->magic = MR_GUEST_STATUS_MAGIC;
	take_parameters();
	memcpy(content.shares, parameters.shares, sizeof(content.shares));
	content.filled = parameters.filled;
	mr_content_init(&content, parameters.seed);
	status()->state = MR_GUEST_FILLING;
	fill();
	status()->state = MR_GUEST_STARTING;
	start_others(vcpus_of_machine() - 1);
	status()->state = MR_GUEST_RUNNING;
	run(0);
}
