#include "wire/http1_chars.h"

/* Each is a constant expression of c, so the table below is made by the compiler and can't hold
 * a typing error. */
#define IN(c, lo, hi) ((c) >= (lo) && (c) <= (hi))
#define DIGIT(c) IN(c, '0', '9')
#define ALPHA(c) (IN(c, 'a', 'z') || IN(c, 'A', 'Z'))
#define ALNUM(c) (DIGIT(c) || ALPHA(c))
#define TCHAR(c)                                                                                 \
  (ALNUM(c) || (c) == '!' || IN(c, '#', '\'') || (c) == '*' || (c) == '+' || (c) == '-' ||       \
   (c) == '.' || (c) == '^' || (c) == '_' || (c) == '`' || (c) == '|' || (c) == '~')
#define UNRESERVED(c) (ALNUM(c) || (c) == '-' || (c) == '.' || (c) == '_' || (c) == '~')
#define PATHCH(c)                                                                                \
  (UNRESERVED(c) || (c) == '!' || (c) == '$' || IN(c, '&', ',') || (c) == ';' || (c) == '=' ||   \
   (c) == ':' || (c) == '@' || (c) == '/')
#define QUERYCH(c) (PATHCH(c) || (c) == '?' || (c) == '[' || (c) == ']')

#define ONE(c)                                                                                   \
  (uint8_t)((TCHAR(c) ? WR_CHAR_TOKEN : 0) | (DIGIT(c) ? WR_CHAR_DIGIT : 0) |                    \
            (DIGIT(c) || IN(c, 'a', 'f') || IN(c, 'A', 'F') ? WR_CHAR_HEX : 0) |                 \
            (PATHCH(c) ? WR_CHAR_PATH : 0) | (QUERYCH(c) ? WR_CHAR_QUERY : 0) |                  \
            (UNRESERVED(c) ? WR_CHAR_HOST : 0) |                                                 \
            (((c) >= 0x20 && (c) != 0x7f) || (c) == '\t' ? WR_CHAR_VALUE : 0))
#define FOUR(c) ONE(c), ONE((c) + 1), ONE((c) + 2), ONE((c) + 3)
#define SIXTEEN(c) FOUR(c), FOUR((c) + 4), FOUR((c) + 8), FOUR((c) + 12)
#define SIXTY_FOUR(c) SIXTEEN(c), SIXTEEN((c) + 16), SIXTEEN((c) + 32), SIXTEEN((c) + 48)

const uint8_t wr_http1_chars[256] = { SIXTY_FOUR(0), SIXTY_FOUR(64), SIXTY_FOUR(128),
                                      SIXTY_FOUR(192) };
