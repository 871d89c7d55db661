// Ends QEMU with a status: its isa-debug-exit device turns a byte N into exit status 2N+1.
// Debian's cloud kernels have no /dev/port, so a shell cannot write that byte.
#include <stdlib.h>
#include <sys/io.h>
#include <termios.h>

int main(int argc, char **argv) {
    tcdrain(1); // the last line must be on the serial port before the machine is gone
    if (argc != 2 || ioperm(0xf4, 4, 1) != 0)
        return 1;
    outb(atoi(argv[1]) != 0, 0xf4);
    return 0;
}
