# A resource group of its own for each run and provider instance holds everything: deleting it deletes all,
# also what carries no tags of its own (subnets, role assignments).

resource "azurerm_resource_group" "run" {
  name     = local.name
  location = var.location
  tags     = local.tags
}

resource "azurerm_virtual_network" "run" {
  name                = "network"
  location            = azurerm_resource_group.run.location
  resource_group_name = azurerm_resource_group.run.name
  address_space       = ["10.0.0.0/16"]
  tags                = local.tags
}

resource "azurerm_subnet" "hosts" {
  name                 = "hosts"
  resource_group_name  = azurerm_resource_group.run.name
  virtual_network_name = azurerm_virtual_network.run.name
  address_prefixes     = ["10.0.0.0/20"]
}

# Hosts call out; nobody calls in, not even a neighbour, unless SSH was asked for.
resource "azurerm_network_security_group" "hosts" {
  name                = "hosts"
  location            = azurerm_resource_group.run.location
  resource_group_name = azurerm_resource_group.run.name
  tags                = local.tags

  dynamic "security_rule" {
    for_each = var.ssh_cidr == "" ? [] : [var.ssh_cidr]

    content {
      name                       = "ssh"
      priority                   = 100
      direction                  = "Inbound"
      access                     = "Allow"
      protocol                   = "Tcp"
      source_address_prefix      = security_rule.value
      source_port_range          = "*"
      destination_address_prefix = "*"
      destination_port_range     = "22"
    }
  }

  security_rule {
    name                       = "closed"
    priority                   = 4096
    direction                  = "Inbound"
    access                     = "Deny"
    protocol                   = "*"
    source_address_prefix      = "*"
    source_port_range          = "*"
    destination_address_prefix = "*"
    destination_port_range     = "*"
  }
}

resource "azurerm_subnet_network_security_group_association" "hosts" {
  subnet_id                 = azurerm_subnet.hosts.id
  network_security_group_id = azurerm_network_security_group.hosts.id
}

resource "azurerm_public_ip" "host" {
  for_each = local.hosts

  name                = "${local.machine[each.key]}-ip"
  location            = azurerm_resource_group.run.location
  resource_group_name = azurerm_resource_group.run.name
  allocation_method   = "Static"
  sku                 = "Standard"
  zones               = var.zone == null ? null : [var.zone]
  tags                = merge(local.tags, { bench_alias = each.value.alias })
}

resource "azurerm_network_interface" "host" {
  for_each = local.hosts

  name                = "${local.machine[each.key]}-nic"
  location            = azurerm_resource_group.run.location
  resource_group_name = azurerm_resource_group.run.name
  tags                = merge(local.tags, { bench_alias = each.value.alias })

  # Some small sizes of earlier versions refuse it.
  accelerated_networking_enabled = local.is_recent[each.value.alias]

  ip_configuration {
    name                          = "primary"
    subnet_id                     = azurerm_subnet.hosts.id
    private_ip_address_allocation = "Dynamic"
    public_ip_address_id          = azurerm_public_ip.host[each.key].id
  }

  # Closed before anybody is on it.
  depends_on = [azurerm_subnet_network_security_group_association.hosts]
}
