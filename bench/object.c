/* A shared object with code, constants and data: cargo xtask bench makes copies of it. */

static const char text[] = "a constant";
static const char *volatile pointer = text;
int counter = 1;

int object(void) {
    return counter++ + pointer[0];
}
