/* Loads the library a hundred times, uses it, and unloads it: the process may not grow by it. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef int32_t (*load_function)(const char *, size_t, const void *, const void **, void **);
typedef void (*free_function)(const void *);

static long resident_kilobytes(void) {
    char line[256];
    long kilobytes = -1;
    FILE *file = fopen("/proc/self/status", "r");
    if (file == NULL) return -1;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "RssAnon: %ld", &kilobytes) == 1) break;
    fclose(file);
    return kilobytes;
}

static int use(const char *library, const char *model_directory) {
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    load_function load;
    free_function unload;
    const void *model = NULL;
    void *symbol;
    if (handle == NULL) return fprintf(stderr, "%s\n", dlerror()), 0;
    symbol = dlsym(handle, "slm_model_load");
    memcpy(&load, &symbol, sizeof load);
    symbol = dlsym(handle, "slm_model_free");
    memcpy(&unload, &symbol, sizeof unload);
    if (load(model_directory, SIZE_MAX, NULL, &model, NULL) != 0) return 0;
    unload(model);
    return dlclose(handle) == 0;
}

int main(int argc, char **argv) {
    long before = 0;
    int round;
    if (argc < 3) return 2;
    for (round = 0; round < 100; round++) {
        if (!use(argv[1], argv[2])) return fprintf(stderr, "round %d failed\n", round), 1;
        /* The first rounds fill what is kept for ever. */
        if (round == 20) before = resident_kilobytes();
    }
    printf("%ld kB after 20 rounds, %ld kB after 100\n", before, resident_kilobytes());
    return resident_kilobytes() > before + 2048;
}
