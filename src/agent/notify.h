/* SPDX-License-Identifier: Apache-2.0
 *
 * systemd's readiness protocol (sd_notify(3)): one datagram to the socket named by NOTIFY_SOCKET.
 */
#pragma once

/* state: e.g. "READY=1". Without NOTIFY_SOCKET nothing happens. 0 or negative errno. */
int notify_send(const char *state);
