/* json.h: the paths that scripts ask JSON documents for, compiled once and kept.
 *
 * A few programs a VM, thrown out in turn. Owned by the VM's script struct; its thread only. */
#ifndef WR_API_JSON_H
#define WR_API_JSON_H

struct wr_json_cache;
/* NULL is fine. */
void wr_json_cache_free(struct wr_json_cache *cache);

#endif
