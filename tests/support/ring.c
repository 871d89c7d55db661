// Makes one call on a TCP socket through io_uring, and says what came of it: ring socket|bind|connect|accept [PORT] on 127.0.0.1.
// Of accept it says that it listens, and then that it may open no more files.
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// Newer than the headers of some hosts: include/uapi/linux/io_uring.h.
enum { OP_SOCKET = 45, OP_BIND = 56 };

static int ring;
static char *shared;
static struct io_uring_sqe *entry;
static struct io_uring_params parameters;

static void begin(void) {
    ring = syscall(SYS_io_uring_setup, 1, &parameters);
    if (ring < 0)
        err(2, "io_uring_setup");
    size_t size = parameters.cq_off.cqes + parameters.cq_entries * sizeof(struct io_uring_cqe);
    shared = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
    entry = mmap(0, sizeof *entry, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
    if (shared == MAP_FAILED || entry == MAP_FAILED)
        err(2, "mmap");
}

// Submits the one entry that there is and waits for its result.
static int called(void) {
    *(unsigned *)(shared + parameters.sq_off.array) = 0;
    __atomic_fetch_add((unsigned *)(shared + parameters.sq_off.tail), 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
        err(2, "io_uring_enter");
    return ((struct io_uring_cqe *)(shared + parameters.cq_off.cqes))->res;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    address.sin_port = htons(argc > 2 ? atoi(argv[2]) : 0);
    begin();
    int own = strcmp(what, "socket") ? socket(AF_INET, SOCK_STREAM, 0) : AF_INET;
    *entry = (struct io_uring_sqe){.fd = own, .addr = (unsigned long)&address};
    if (!strcmp(what, "socket")) {
        // The type stands where an offset does.
        entry->opcode = OP_SOCKET, entry->off = SOCK_STREAM, entry->addr = 0;
    } else if (!strcmp(what, "bind")) {
        // The address's length stands where its second address does.
        entry->opcode = OP_BIND, entry->addr2 = sizeof address;
    } else if (!strcmp(what, "connect")) {
        entry->opcode = IORING_OP_CONNECT, entry->off = sizeof address;
    } else if (!strcmp(what, "accept")) {
        entry->opcode = IORING_OP_ACCEPT, entry->addr = 0;
        if (bind(own, (struct sockaddr *)&address, sizeof address) || listen(own, 5))
            err(2, "listen");
        printf("listening\n"), fflush(stdout);
        getchar(); // somebody waits in the queue now
        struct rlimit few = {own + 1, own + 1};
        if (setrlimit(RLIMIT_NOFILE, &few))
            err(2, "setrlimit");
    } else {
        errx(2, "there is no call %s", what);
    }
    int result = called();
    printf("%s %d\n", what, result);
    return result >= 0;
}
