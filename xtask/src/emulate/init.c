/* The first process of the emulated computer. Runs /program with the strings in /arguments and /environment, hands what it prints to
 * the emulator, and switches the computer off when it ends.
 *
 * Bochs prints every byte that is written to port 0xe9. After the line START come frames: a byte that tells the kind, two with the length,
 * the lower first, then the content. src/emulate/frames.rs reads them. */
#define _GNU_SOURCE
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define START "\n=== the program starts\n"
enum { OUTPUT = 1, ERRORS = 2, STATUS = 3 };

enum { BOCHS_OUTPUT = 0xe9, BOCHS_POWER = 0x8900 };

/* What is printed here goes to the serial line, and when the first process ends the system stops. */
static void must(int holds, const char *what) {
    if (!holds) {
        perror(what);
        exit(1);
    }
}

static void print(const void *bytes, size_t length) {
    for (const unsigned char *byte = bytes; length > 0; byte++, length--) outb(*byte, BOCHS_OUTPUT);
}

static void print_frame(uint8_t kind, const void *content, uint16_t length) {
    const uint8_t head[3] = {kind, (uint8_t)length, (uint8_t)(length >> 8)};
    print(head, sizeof head);
    print(content, length);
}

/* The strings of a file, each ended by a zero byte. */
static char **strings(const char *path) {
    FILE *file = fopen(path, "rb");
    must(file != NULL, path);
    char **list = NULL;
    size_t count = 0;
    for (;;) {
        list = realloc(list, (count + 1) * sizeof *list);
        must(list != NULL, path);
        list[count] = NULL;
        size_t room = 0;
        if (getdelim(&list[count], &room, '\0', file) < 0) {
            list[count] = NULL;
            fclose(file);
            return list;
        }
        count++;
    }
}

static void mount_system(const char *type, const char *folder) {
    mkdir(folder, 0755);
    must(mount(type, folder, type, 0, NULL) == 0, folder);
}

int main(void) {
    must(iopl(3) == 0, "iopl");
    mount_system("devtmpfs", "/dev");
    mount_system("proc", "/proc");
    mount_system("sysfs", "/sys");
    mount_system("tmpfs", "/tmp");
    char **arguments = strings("/arguments"), **environment = strings("/environment");
    int output[2], errors[2];
    must(pipe(output) == 0 && pipe(errors) == 0, "pipe");
    print(START, strlen(START));

    pid_t program = fork();
    must(program >= 0, "fork");
    if (program == 0) {
        must(freopen("/dev/null", "r", stdin) != NULL, "/dev/null");
        must(dup2(output[1], 1) == 1 && dup2(errors[1], 2) == 2, "dup2");
        close(output[0]);
        close(output[1]);
        close(errors[0]);
        close(errors[1]);
        must(iopl(0) == 0, "iopl");
        execve("/program", arguments, environment);
        perror("/program");
        _exit(127);
    }
    close(output[1]);
    close(errors[1]);

    struct pollfd pipes[2] = {{.fd = output[0], .events = POLLIN}, {.fd = errors[0], .events = POLLIN}};
    const uint8_t kinds[2] = {OUTPUT, ERRORS};
    static char buffer[32768];
    for (int open = 2; open > 0;) {
        must(poll(pipes, 2, -1) > 0, "poll");
        for (int index = 0; index < 2; index++) {
            if (pipes[index].revents == 0) continue;
            ssize_t length = read(pipes[index].fd, buffer, sizeof buffer);
            if (length > 0) {
                print_frame(kinds[index], buffer, (uint16_t)length);
            } else {
                /* poll passes over negative numbers. */
                pipes[index].fd = -1;
                open--;
            }
        }
    }

    int how = 0;
    must(waitpid(program, &how, 0) == program, "waitpid");
    const uint8_t status = (uint8_t)(WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how));
    print_frame(STATUS, &status, 1);
    for (const char *letter = "Shutdown"; *letter != 0; letter++) outb((unsigned char)*letter, BOCHS_POWER);
    for (;;) pause();
}
