// uncaught FOLDER SERVER: a program that ends by an exception that nobody catches. std::terminate
// calls abort.
#include "dumpwright.h"

#include <cstdio>
#include <stdexcept>

int main(int count, char **arguments)
{
    if (count != 3)
        return 2;
    dumpwright_crash_options options = {};
    options.size = sizeof options;
    options.server = arguments[2];
    options.name = "%e.dmp";
    if (!dumpwright_crash_install(arguments[1], &options)) {
        std::fprintf(stderr, "%s\n", dumpwright_last_error_message());
        return 1;
    }
    throw std::runtime_error("nobody catches this");
}
