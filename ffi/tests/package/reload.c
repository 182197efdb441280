/* Loads the library a hundred times, uses it, and unloads it: the process may not grow by it. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef int32_t (*load_function)(const char *, size_t, const void *, const void **, void **);
typedef void (*free_function)(const void *);

/* What a process holds: memory of its own, threads, and mappings of memory and files. */
typedef struct {
    long kilobytes, threads, mappings;
} holdings;

static holdings held(void) {
    char line[4096];
    holdings result = {-1, -1, 0};
    FILE *file = fopen("/proc/self/status", "r");
    if (file == NULL) return result;
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "RssAnon: %ld", &result.kilobytes) != 1) sscanf(line, "Threads: %ld", &result.threads);
    fclose(file);
    file = fopen("/proc/self/maps", "r");
    if (file == NULL) return result;
    while (fgets(line, sizeof line, file) != NULL) result.mappings += strchr(line, '\n') != NULL;
    fclose(file);
    return result;
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
    holdings before = {-1, -1, 0}, after;
    int round;
    if (argc < 3) return 2;
    for (round = 0; round < 100; round++) {
        if (!use(argv[1], argv[2])) return fprintf(stderr, "round %d failed\n", round), 1;
        /* The first rounds fill what is kept for ever. Threads end a little after their model is freed. */
        if (round == 19) before = held();
    }
    after = held();
    printf("%ld kB, %ld threads and %ld mappings after 20 rounds, %ld, %ld and %ld after 100\n", before.kilobytes,
           before.threads, before.mappings, after.kilobytes, after.threads, after.mappings);
    return before.kilobytes < 0 || after.kilobytes > before.kilobytes + 1024 || after.threads > before.threads + 8 ||
           after.mappings > before.mappings + 32;
}
