/* bare_answer.c - the least that answers an agent-check: accept, say a line, close; what a machine and a client cost by themselves.
 *
 *   bare_answer
 *
 * Prints its port and serves one connection after the other on loopback until it is killed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (const struct sockaddr *)&at, len) < 0 || listen(listener, 1024) < 0 ||
        getsockname(listener, (struct sockaddr *)&at, &len) < 0)
        return 1;
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        const int one = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (one < 0)
            continue;
        if (send(one, "up 100%\n", 8, MSG_NOSIGNAL | MSG_MORE) != 8)
            perror("send");
        shutdown(one, SHUT_WR);
        close(one);
    }
}
