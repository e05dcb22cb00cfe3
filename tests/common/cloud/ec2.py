"""The little of EC2's API (and of S3's and IAM's) that the booter needs, asked without signatures: moto checks none."""

import http.client
from collections import namedtuple
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

Instance = namedtuple("Instance", "id type state region profile")

# Kind, call and the elements that name one resource.
KINDS = [
    ("vpc", "DescribeVpcs", "vpcSet/item/vpcId"),
    ("subnet", "DescribeSubnets", "subnetSet/item/subnetId"),
    ("internet gateway", "DescribeInternetGateways", "internetGatewaySet/item/internetGatewayId"),
    ("route table", "DescribeRouteTables", "routeTableSet/item/routeTableId"),
    ("security group", "DescribeSecurityGroups", "securityGroupInfo/item/groupId"),
    ("volume", "DescribeVolumes", "volumeSet/item/volumeId"),
    ("key pair", "DescribeKeyPairs", "keySet/item/keyPairId"),
    ("launch template", "DescribeLaunchTemplates", "launchTemplates/item/launchTemplateId"),
    ("address", "DescribeAddresses", "addressesSet/item/allocationId"),
]


class Client:
    def __init__(self, endpoint, region):
        self.endpoint, self.region = urlsplit(endpoint), region

    def ask(self, service, method, path, body=None):
        scope = f"Credential=booter/20200101/{self.region}/{service}/aws4_request"
        headers = {"Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"}
        if body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        connection = http.client.HTTPConnection(self.endpoint.hostname, self.endpoint.port, timeout=60)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if response.status >= 300:
            raise RuntimeError(f"{service} {body}: {response.status} {content.decode(errors='replace')}")
        return strip(ElementTree.fromstring(content)) if content.strip() else None

    def call(self, action, service="ec2", version="2016-11-15", **parameters):
        form = urlencode({"Action": action, "Version": version, **parameters})
        return self.ask(service, "POST", "/", form)

    def instances(self):
        for item in self.call("DescribeInstances").iterfind("reservationSet/item/instancesSet/item"):
            profile = item.findtext("iamInstanceProfile/arn", "").rpartition("/")[2]
            state = item.findtext("instanceState/name")
            yield Instance(item.findtext("instanceId"), item.findtext("instanceType"), state, self.region, profile)

    def attribute(self, id, name):
        answer = self.call("DescribeInstanceAttribute", InstanceId=id, Attribute=name)
        return answer.findtext(f"{name}/value", "")

    def user_data(self, id):
        return self.attribute(id, "userData")

    def shutdown_behavior(self, id):
        """What powering off does: as the launch template says, if there is one, which moto's instance does not tell."""
        tags = self.call("DescribeTags", **{"Filter.1.Name": "resource-id", "Filter.1.Value.1": id}).iterfind("tagSet/item")
        tags = {tag.findtext("key"): tag.findtext("value") for tag in tags}
        template, version = (tags.get(f"aws:ec2launchtemplate:{part}") for part in ("id", "version"))
        if template:
            asked = {"LaunchTemplateId": template, "LaunchTemplateVersion.1": version}
            found = self.call("DescribeLaunchTemplateVersions", **asked)
            path = "launchTemplateVersionSet/item/launchTemplateData/instanceInitiatedShutdownBehavior"
            if said := found.findtext(path):
                return said
        return self.attribute(id, "instanceInitiatedShutdownBehavior")


def strip(tree):
    """The tree without namespaces."""
    for element in tree.iter():
        element.tag = element.tag.rpartition("}")[2]
    return tree


def inventory(endpoint, regions):
    """Ids of everything that is there, by region and kind. Terminated instances are gone, and so are interfaces in a
    subnet that is gone: moto keeps those of instances, no cloud could."""
    there = {}
    for region in regions:
        client = Client(endpoint, region)
        found = there[region] = {}
        for kind, action, path in KINDS:
            found[kind] = sorted(element.text for element in client.call(action).iterfind(path))
        interfaces = client.call("DescribeNetworkInterfaces").iterfind("networkInterfaceSet/item")
        interfaces = [i for i in interfaces if i.findtext("subnetId") in found["subnet"]]
        found["network interface"] = sorted(i.findtext("networkInterfaceId") for i in interfaces)
        found["instance"] = sorted(i.id for i in client.instances() if i.state != "terminated")
    client = Client(endpoint, regions[0])
    roles = client.call("ListRoles", "iam", "2010-05-08").iterfind("ListRolesResult/Roles/member/RoleName")
    profiles = client.call("ListInstanceProfiles", "iam", "2010-05-08")
    profiles = profiles.iterfind("ListInstanceProfilesResult/InstanceProfiles/member/InstanceProfileName")
    buckets = client.ask("s3", "GET", "/").iterfind("Buckets/Bucket/Name")
    named = {"role": roles, "instance profile": profiles, "bucket": buckets}
    there["global"] = {kind: sorted(element.text for element in elements) for kind, elements in named.items()}
    return there


def besides(now, before):
    """What of an inventory is not in an earlier one; places and kinds that hold nothing new are left out."""
    new = {}
    for place, kinds in now.items():
        known = before.get(place, {})
        found = {kind: [id for id in ids if id not in known.get(kind, [])] for kind, ids in kinds.items()}
        if found := {kind: ids for kind, ids in found.items() if ids}:
            new[place] = found
    return new
