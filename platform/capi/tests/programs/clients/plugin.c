/* A library with data of its own. target.c loads it twice, under two names. */
#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)

char plugin_data[64] = TEXT(PLUGIN) "-DATA";
