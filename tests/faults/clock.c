/* A clock that can be put forward and back under running programs; their monotonic clock stays as it is, as when an
   admin sets a machine's. Loaded by LD_PRELOAD, the file named by CLOCK_OFFSET holds the seconds to add; for a whole
   machine by /etc/ld.so.preload, and without that variable the file is /etc/clock-offset. */
struct timespec { long seconds, nanoseconds; };
struct timeval { long seconds, microseconds; };
extern long syscall(long number, ...);
extern char *getenv(const char *name);
extern int open(const char *path, int flags);
extern long read(int file, void *buffer, unsigned long size);
extern int close(int file);
extern long atol(const char *text);

#ifdef __aarch64__
enum { CLOCK_GETTIME = 113 };
#else
enum { CLOCK_GETTIME = 228 };
#endif
enum { REALTIME = 0, REALTIME_COARSE = 5 };

static long offset(void) {
    char text[32] = "";
    const char *path = getenv("CLOCK_OFFSET");
    int file = open(path ? path : "/etc/clock-offset", 0);
    if (file < 0)
        return 0;
    read(file, text, sizeof text - 1);
    close(file);
    return atol(text);
}

int clock_gettime(int clock, struct timespec *now) {
    long failed = syscall(CLOCK_GETTIME, clock, now);
    if (!failed && (clock == REALTIME || clock == REALTIME_COARSE))
        now->seconds += offset();
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    clock_gettime(REALTIME, &exact);
    now->seconds = exact.seconds;
    now->microseconds = exact.nanoseconds / 1000;
    return 0;
}

long time(long *where) {
    struct timespec exact;
    clock_gettime(REALTIME, &exact);
    if (where)
        *where = exact.seconds;
    return exact.seconds;
}
