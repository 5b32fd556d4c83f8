/* version.h: the one place that says which weir this is (semver). */
#ifndef WR_BASE_VERSION_H
#define WR_BASE_VERSION_H

#define WR_VERSION "0.1.0"

#endif
