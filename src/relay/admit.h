/* admit.h: the limits of a listener and of a route, as they meet a request. Internal to relay/. */
#ifndef WR_RELAY_ADMIT_H
#define WR_RELAY_ADMIT_H

#include "conf/conf.h"
#include "relay/quota.h"

struct wr_session;

/* What a request holds of the table until it is over. */
struct wr_admitted {
  uint32_t listen, listen_address, route_address; /* entries; WR_QUOTA_NONE: none */
};

/* Before the request's head is read. WR_E_SHED, WR_E_TOO_MANY_REQUESTS, WR_E_TOO_MANY_ADDRESS: not
 * now; the session knows how long to wait. */
WR_MUST_USE enum wr_err wr_admit_listen(struct wr_session *s, const struct wr_conf_listen *listen);
/* The route, and the key if there is one, are known. Errors as above. */
WR_MUST_USE enum wr_err wr_admit_route(struct wr_session *s);
void wr_admitted_end(struct wr_session *s);

#endif
