/*
 * A plain echo by recvmmsg and sendmmsg, as a C programmer would write it: the yardstick for the path `mmsg`.
 *
 *   gcc -O2 -o mmsg_echo tools/mmsg_echo.c
 *   linerate ab --engine-a 'taskset -c {cpu} ./mmsg_echo {if}' --drain-frames 3000 \
 *               --args-b '--path mmsg' --loads drain
 *
 * It answers EtherType 0x88b5 in upper case with the addresses swapped, and looks at nothing else: no VLAN tag,
 * no stamp, no drop is counted.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64, ROOM = 2048, BUFFER_BYTES = 8 << 20 };

static unsigned char frames[BATCH][ROOM];

static void check(int result, const char *what)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	struct mmsghdr messages[BATCH];
	struct iovec pieces[BATCH];
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(0x88b5) };
	int socket_fd, one = 1, bytes = BUFFER_BYTES;

	if (argc != 2) {
		fprintf(stderr, "usage: %s INTERFACE\n", argv[0]);
		return 2;
	}
	address.sll_ifindex = if_nametoindex(argv[1]);
	check(address.sll_ifindex ? 0 : -1, argv[1]);
	socket_fd = socket(AF_PACKET, SOCK_RAW, 0);
	check(socket_fd, "socket");
	check(setsockopt(socket_fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one), "PACKET_IGNORE_OUTGOING");
	if (setsockopt(socket_fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes) < 0)
		setsockopt(socket_fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
	check(bind(socket_fd, (struct sockaddr *)&address, sizeof address), "bind");

	memset(messages, 0, sizeof messages);
	for (int i = 0; i < BATCH; i++) {
		messages[i].msg_hdr.msg_iov = &pieces[i];
		messages[i].msg_hdr.msg_iovlen = 1;
		pieces[i].iov_base = frames[i];
	}
	for (;;) {
		int received, sent = 0;

		for (int i = 0; i < BATCH; i++)
			pieces[i].iov_len = ROOM;
		received = recvmmsg(socket_fd, messages, BATCH, MSG_WAITFORONE, NULL);
		check(received, "recvmmsg");
		for (int i = 0; i < received; i++) {
			unsigned char *frame = frames[i], other[ETH_ALEN];

			pieces[i].iov_len = messages[i].msg_len;
			memcpy(other, frame, ETH_ALEN);
			memcpy(frame, frame + ETH_ALEN, ETH_ALEN);
			memcpy(frame + ETH_ALEN, other, ETH_ALEN);
			for (unsigned at = ETH_HLEN; at < messages[i].msg_len; at++)
				if (frame[at] >= 'a' && frame[at] <= 'z')
					frame[at] -= 'a' - 'A';
		}
		while (sent < received) {
			int taken = sendmmsg(socket_fd, messages + sent, received - sent, 0);

			check(taken, "sendmmsg");
			sent += taken;
		}
	}
}
