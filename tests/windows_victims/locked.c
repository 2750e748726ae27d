/* A process that no one may open: its access control list is empty. */
#include "truth.h"

int main(int count, char **words)
{
    need(count >= 3, "reading the command line");
    open_beats(words[2]);
    SECURITY_DESCRIPTOR descriptor;
    char list[sizeof(ACL)] __attribute__((aligned(8)));
    need(InitializeAcl((ACL *)list, sizeof list, ACL_REVISION), "making a list");
    need(InitializeSecurityDescriptor(&descriptor, SECURITY_DESCRIPTOR_REVISION)
         && SetSecurityDescriptorDacl(&descriptor, TRUE, (ACL *)list, FALSE), "making a descriptor");
    need(SetKernelObjectSecurity(GetCurrentProcess(), DACL_SECURITY_INFORMATION, &descriptor), "locking the process");
    begin_testimony(words[1]);
    tell("{\"pid\":%lu}\n", GetCurrentProcessId());
    end_testimony();
    return (int)beat(0);
}
