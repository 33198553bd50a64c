/* Preloaded into a process under test: writes down, in order, what the process does to the files
 * below one directory and what it says to others, and makes these calls fail on demand.
 *
 * POWER_DIR    the directory whose files are watched (absolute)
 * POWER_LOG    where the recording goes
 * POWER_MARK   a file whose writes are marks: what the process says is done
 * POWER_NET    if set, what is sent on sockets is a mark too
 * POWER_BLIND  if set, fdatasync and fsync are not believed: they leave no trace
 * POWER_FAULT  a file; while it holds "LETTERS ERRNO", these calls fail with that number:
 *              w writes and growth, s syncs, c creating and renaming, u removing; h: half of a write
 *              is done
 *
 * A record is eight little-endian words (mark, kind, inode, offset, result, token, path length, data
 * length), the path and the data. A write is logged under the lock that it is done under, so the
 * recording has the order of the disk. A sync is logged when it begins and when it has ended: it
 * covers what came before its beginning. sync_file_range is no barrier, so it is not logged.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, RESIZE, SYNC, SYNCED, RENAME, UNLINK, MKDIR, MARK, SPAWN };

#define INODES_MAX 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char dir[PATH_MAX], mark_path[PATH_MAX], fault_path[PATH_MAX];
static size_t dir_len;
static int log_fd = -1, net, blind;
static uint64_t inodes[INODES_MAX], mark_inode, tokens;
static int inode_count;

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static void take(const char *name, char *into)
{
    const char *value = getenv(name);
    if (value)
        snprintf(into, PATH_MAX, "%s", value);
}

__attribute__((constructor)) static void start(void)
{
    char path[PATH_MAX] = "";
    take("POWER_DIR", dir);
    take("POWER_LOG", path);
    take("POWER_MARK", mark_path);
    take("POWER_FAULT", fault_path);
    net = getenv("POWER_NET") != NULL;
    blind = getenv("POWER_BLIND") != NULL;
    dir_len = strlen(dir);
    if (dir_len && path[0])
        log_fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void record(uint64_t kind, uint64_t inode, uint64_t offset, uint64_t result, uint64_t token,
                   const char *path, const void *data, size_t len)
{
    if (log_fd < 0)
        return;
    uint64_t head[8] = {0x31524557504f4c47u, kind, inode, offset, result, token, path ? strlen(path) : 0, len};
    struct iovec parts[3] = {{head, sizeof head}, {(void *)path, head[6]}, {(void *)data, len}};
    syscall(SYS_writev, log_fd, parts, 3);
}

static int watched(const char *path)
{
    return dir_len && strncmp(path, dir, dir_len) == 0 && (path[dir_len] == '/' || path[dir_len] == 0);
}

static const char *absolute(int at, const char *path, char *into)
{
    char base[PATH_MAX / 2] = "", link[64];
    if (path[0] == '/')
        return path;
    if (at == AT_FDCWD) {
        if (!getcwd(base, sizeof base))
            return "";
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t len = readlink(link, base, sizeof base - 1);
        base[len < 0 ? 0 : len] = 0;
    }
    snprintf(into, PATH_MAX, "%s/%s", base, path);
    return into;
}

/* The number with which a call of this letter shall fail now, or 0. */
static int fault(char letter, int *half)
{
    char text[64] = "";
    if (!fault_path[0])
        return 0;
    int fd = syscall(SYS_openat, AT_FDCWD, fault_path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t len = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    char *space = len > 0 ? strchr(text, ' ') : NULL;
    if (!space)
        return 0;
    *space = 0;
    if (half)
        *half = strchr(text, 'h') != NULL;
    return strchr(text, letter) ? atoi(space + 1) : 0;
}

static int known(uint64_t inode)
{
    for (int i = 0; i < inode_count; i++)
        if (inodes[i] == inode)
            return i + 1;
    return 0;
}

/* 1 for a watched file, 2 for the file of marks, 3 for a socket; its inode. */
static int what_is(int fd, struct stat *about)
{
    if (log_fd < 0 || fstat(fd, about) != 0)
        return 0;
    if (S_ISSOCK(about->st_mode))
        return net ? 3 : 0;
    if (!S_ISREG(about->st_mode))
        return 0;
    if (mark_inode && about->st_ino == mark_inode)
        return 2;
    pthread_mutex_lock(&lock);
    int found = known(about->st_ino);
    pthread_mutex_unlock(&lock);
    return found ? 1 : 0;
}

static int opened(int fd, const char *path, int flags, int existed)
{
    struct stat about;
    if (fd < 0 || fstat(fd, &about) != 0 || !S_ISREG(about.st_mode))
        return fd;
    pthread_mutex_lock(&lock);
    int at = known(about.st_ino);
    if (mark_path[0] && strcmp(path, mark_path) == 0) {
        mark_inode = about.st_ino;
    } else if (!watched(path)) {
        if (at)
            inodes[at - 1] = 0;
    } else {
        if (!at && inode_count < INODES_MAX)
            inodes[inode_count++] = about.st_ino;
        if (!existed)
            record(CREATE, about.st_ino, 0, 0, 0, path, NULL, 0);
        else if (flags & O_TRUNC)
            record(RESIZE, about.st_ino, 0, 0, 0, path, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

static int open_at(int at, const char *path, int flags, mode_t mode)
{
    char whole[PATH_MAX];
    const char *name = absolute(at, path, whole);
    int existed = 1;
    if (watched(name) && (flags & O_CREAT)) {
        struct stat about;
        existed = stat(name, &about) == 0;
        int error = existed ? 0 : fault('c', NULL);
        if (error) {
            errno = error;
            return -1;
        }
    }
    int fd = syscall(SYS_openat, at, path, flags, mode);
    return opened(fd, name, flags, existed);
}

#define OPEN(name, ...)                                    \
    {                                                      \
        mode_t mode = 0;                                   \
        if (flags & (O_CREAT | O_TMPFILE)) {               \
            va_list rest;                                  \
            va_start(rest, flags);                         \
            mode = va_arg(rest, mode_t);                   \
            va_end(rest);                                  \
        }                                                  \
        return open_at(__VA_ARGS__, path, flags, mode);    \
    }

int open(const char *path, int flags, ...) OPEN(open, AT_FDCWD)
int open64(const char *path, int flags, ...) OPEN(open64, AT_FDCWD)
int openat(int at, const char *path, int flags, ...) OPEN(openat, at)
int openat64(int at, const char *path, int flags, ...) OPEN(openat64, at)

static ssize_t put(int fd, const void *data, size_t len, off_t offset, int positioned)
{
    struct stat about;
    int what = what_is(fd, &about);
    if (what == 2 || what == 3) {
        pthread_mutex_lock(&lock);
        /* Before it is said: whoever hears it may act at once. */
        record(MARK, about.st_ino, 0, 0, 0, NULL, data, len);
        pthread_mutex_unlock(&lock);
    }
    if (what != 1)
        return positioned ? syscall(SYS_pwrite64, fd, data, len, offset) : syscall(SYS_write, fd, data, len);
    pthread_mutex_lock(&lock);
    int half = 0, error = fault('w', &half);
    ssize_t done = -1;
    if (error && half && len > 1)
        len /= 2, error = 0;
    if (!positioned)
        offset = fcntl(fd, F_GETFL) & O_APPEND ? about.st_size : lseek(fd, 0, SEEK_CUR);
    if (error)
        errno = error;
    else
        done = positioned ? syscall(SYS_pwrite64, fd, data, len, offset) : syscall(SYS_write, fd, data, len);
    if (done > 0)
        record(WRITE, about.st_ino, offset, done, 0, NULL, data, done);
    int kept = errno;
    pthread_mutex_unlock(&lock);
    errno = kept;
    return done;
}

ssize_t write(int fd, const void *data, size_t len) { return put(fd, data, len, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t len, off_t offset) { return put(fd, data, len, offset, 1); }
ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset) { return put(fd, data, len, offset, 1); }

static void said(int fd, const struct iovec *parts, size_t count)
{
    struct stat about;
    int what = what_is(fd, &about);
    if (what != 2 && what != 3)
        return;
    size_t len = 0, at = 0;
    for (size_t i = 0; i < count; i++)
        len += parts[i].iov_len;
    char *all = malloc(len ? len : 1);
    for (size_t i = 0; i < count; i++) {
        memcpy(all + at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    pthread_mutex_lock(&lock);
    record(MARK, about.st_ino, 0, 0, 0, NULL, all, len);
    pthread_mutex_unlock(&lock);
    free(all);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    struct stat about;
    if (what_is(fd, &about) == 1)
        /* A short write is allowed, and the caller goes on with the rest. */
        return count ? put(fd, parts[0].iov_base, parts[0].iov_len, 0, 0) : 0;
    said(fd, parts, count);
    return syscall(SYS_writev, fd, parts, count);
}

ssize_t send(int fd, const void *data, size_t len, int flags)
{
    struct iovec part = {(void *)data, len};
    said(fd, &part, 1);
    return syscall(SYS_sendto, fd, data, len, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    said(fd, message->msg_iov, message->msg_iovlen);
    return syscall(SYS_sendmsg, fd, message, flags);
}

static int resize(int fd, off_t len)
{
    struct stat about;
    if (what_is(fd, &about) != 1)
        return syscall(SYS_ftruncate, fd, len);
    pthread_mutex_lock(&lock);
    int error = len > about.st_size ? fault('w', NULL) : 0, result = -1;
    if (error)
        errno = error;
    else
        result = syscall(SYS_ftruncate, fd, len);
    if (result == 0)
        record(RESIZE, about.st_ino, len, 0, 0, NULL, NULL, 0);
    int kept = errno;
    pthread_mutex_unlock(&lock);
    errno = kept;
    return result;
}

int ftruncate(int fd, off_t len) { return resize(fd, len); }
int ftruncate64(int fd, off64_t len) { return resize(fd, len); }

static int sync_fd(int fd, long number)
{
    struct stat about;
    char link[64], path[PATH_MAX] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = log_fd < 0 ? 0 : readlink(link, path, sizeof path - 1);
    path[len < 0 ? 0 : len] = 0;
    if (log_fd < 0 || fstat(fd, &about) != 0)
        return syscall(number, fd);
    int below = watched(path), above = S_ISDIR(about.st_mode);
    if (!below && !above)
        return syscall(number, fd);
    int error = below ? fault('s', NULL) : 0;
    if (error) {
        errno = error;
        return -1;
    }
    pthread_mutex_lock(&lock);
    uint64_t token = ++tokens;
    if (!blind)
        record(SYNC, about.st_ino, 0, 0, token, path, NULL, 0);
    pthread_mutex_unlock(&lock);
    /* The real disk is not what is tested; but others shall come between beginning and end. */
    usleep(300);
    pthread_mutex_lock(&lock);
    if (!blind)
        record(SYNCED, about.st_ino, 0, 0, token, path, NULL, 0);
    pthread_mutex_unlock(&lock);
    return 0;
}

int fsync(int fd) { return sync_fd(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_fd(fd, SYS_fdatasync); }

int sync_file_range(int fd, off64_t offset, off64_t len, unsigned int flags)
{
    struct stat about;
    int error = what_is(fd, &about) == 1 ? fault('s', NULL) : 0;
    if (!error)
        return syscall(SYS_sync_file_range, fd, offset, len, flags);
    errno = error;
    return -1;
}

static int in_tree(int kind, char letter, const char *from, const char *to, int (*act)(const char *, const char *))
{
    char a[PATH_MAX], b[PATH_MAX];
    const char *source = absolute(AT_FDCWD, from, a), *target = to ? absolute(AT_FDCWD, to, b) : "";
    if (!watched(source) && !watched(target))
        return act(from, to);
    pthread_mutex_lock(&lock);
    int error = fault(letter, NULL), result = -1;
    if (error)
        errno = error;
    else
        result = act(from, to);
    if (result == 0)
        record(kind, 0, 0, 0, 0, source, target, strlen(target));
    int kept = errno;
    pthread_mutex_unlock(&lock);
    errno = kept;
    return result;
}

static int do_rename(const char *from, const char *to) { return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0); }
static int do_unlink(const char *path, const char *unused) { (void)unused; return syscall(SYS_unlinkat, AT_FDCWD, path, 0); }
static int do_rmdir(const char *path, const char *unused) { (void)unused; return syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR); }
static __thread mode_t wanted_mode;
static int do_mkdir(const char *path, const char *unused) { (void)unused; return syscall(SYS_mkdirat, AT_FDCWD, path, wanted_mode); }

int rename(const char *from, const char *to) { return in_tree(RENAME, 'c', from, to, do_rename); }
int unlink(const char *path) { return in_tree(UNLINK, 'u', path, NULL, do_unlink); }
int rmdir(const char *path) { return in_tree(UNLINK, 'u', path, NULL, do_rmdir); }
int mkdir(const char *path, mode_t mode)
{
    wanted_mode = mode;
    return in_tree(MKDIR, 'c', path, NULL, do_mkdir);
}

static void spawned(const char *path)
{
    pthread_mutex_lock(&lock);
    record(SPAWN, 0, 0, 0, 0, path, NULL, 0);
    pthread_mutex_unlock(&lock);
}

int posix_spawnp(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const argv[], char *const env[])
{
    REAL(posix_spawnp);
    spawned(path);
    return real(pid, path, actions, attributes, argv, env);
}
