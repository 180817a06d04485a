// Only the reply reader of hiredis is used: the sockets belong to SwiftNIO.
#include <hiredis/read.h>
